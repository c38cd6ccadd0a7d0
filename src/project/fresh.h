/*
 * fresh.h
 *		Reading one's own writes: evstore.read_your_writes.
 */
#ifndef EVSTORE_FRESH_H
#define EVSTORE_FRESH_H

#include "executor/execdesc.h"

extern void evs_fresh_prepare(QueryDesc *query, int eflags);
extern bool evs_fresh_enter(const QueryDesc *query);

#endif							/* EVSTORE_FRESH_H */
