/*
 * rebuild.h
 *		Building the read tables of a projection anew, beside those in use.
 */
#ifndef EVSTORE_REBUILD_H
#define EVSTORE_REBUILD_H

#include "fmgr.h"
#include "project/projection.h"

/* Positions that a batch of a query spans while it is built anew. */
#define EVS_REBUILD_BATCH_SIZE 1000000

extern int	evs_rebuild_find(int original);
extern EvsProjection *evs_rebuild_original(FunctionCallInfo fcinfo, const char *function);
extern int	evs_rebuild_prepare(const EvsProjection *original);
extern Oid	evs_rebuild_create_table(const EvsProjection *rebuild, const char *select);
extern void evs_rebuild_inherit(const EvsProjection *rebuild);
extern void evs_rebuild_lock_tables(const EvsProjection *rebuild);
extern bool evs_rebuild_discard(int original, bool with_original);

#endif							/* EVSTORE_REBUILD_H */
