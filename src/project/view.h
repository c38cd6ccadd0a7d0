/*
 * view.h
 *		The views that projections read their batches through.
 */
#ifndef EVSTORE_VIEW_H
#define EVSTORE_VIEW_H

#include "project/projection.h"

extern void evs_view_create(const EvsProjection *projection, const char *select);
extern void evs_view_drop(const EvsProjection *projection);
extern Oid	evs_view_own(int id);
extern char *evs_view_schema(const EvsProjection *projection);
extern void evs_view_lock(const EvsProjection *projection, LOCKMODE mode);
extern char *evs_view_select(const EvsProjection *projection);
extern char *evs_view_rows(const EvsProjection *projection, const char *query);
extern char *evs_view_initial(const EvsProjection *projection);
extern char *evs_view_upsert(const EvsProjection *projection, const char *read_table, const char *select);
extern Oid	evs_view_find(const EvsProjection *projection);
extern void evs_view_require(const EvsProjection *projection);

#endif							/* EVSTORE_VIEW_H */
