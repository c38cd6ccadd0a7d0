/*
 * writers.h
 *		Keeping writers out of several event tables.
 */
#ifndef EVSTORE_WRITERS_H
#define EVSTORE_WRITERS_H

#include "nodes/pg_list.h"

extern void evs_writers_keep_out(const List *event_tables);

#endif							/* EVSTORE_WRITERS_H */
