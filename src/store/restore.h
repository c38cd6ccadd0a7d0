/*
 * restore.h
 *		Events that come with their positions.
 */
#ifndef EVSTORE_RESTORE_H
#define EVSTORE_RESTORE_H

#include "base/xact.h"
#include "store/table.h"

extern const EvsXactSubscriber evs_restore_xact;

extern void evs_restore_row(Relation rel, EvsTable *table, const Datum *values, const bool *nulls);
extern bool evs_restore_reused(Oid event_table);

#endif							/* EVSTORE_RESTORE_H */
