/*
 * union.h
 *		Several event tables in one query.
 */
#ifndef EVSTORE_UNION_H
#define EVSTORE_UNION_H

#include "nodes/parsenodes.h"

extern bool evs_union_is_union(const RangeTblEntry *entry);
extern void evs_union_check(const RangeTblEntry *entry);
extern List *evs_union_event_tables(const RangeTblEntry *entry);
extern AttrNumber evs_union_position(const RangeTblEntry *entry);
extern List *evs_union_parts(const SelectStmt *select);

#endif							/* EVSTORE_UNION_H */
