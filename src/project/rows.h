/*
 * rows.h
 *		The rows of a query over the events between two positions.
 */
#ifndef EVSTORE_ROWS_H
#define EVSTORE_ROWS_H

#include "nodes/plannodes.h"
#include "project/bounds.h"
#include "utils/snapshot.h"
#include "utils/tuplestore.h"

extern PlannedStmt *evs_rows_plan(const char *select, const EvsBounds *ranges, int count);
extern void evs_rows_keep(PlannedStmt *plan, const char *select, Snapshot snapshot,
						  Tuplestorestate *rows, bool whole);
extern void evs_rows_register(PlannedStmt *plan, Tuplestorestate *rows, const char *name);

#endif							/* EVSTORE_ROWS_H */
