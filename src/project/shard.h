/*
 * shard.h
 *		Which events belong to which shard of a projection.
 */
#ifndef EVSTORE_SHARD_H
#define EVSTORE_SHARD_H

#include "project/projection.h"

extern char *evs_shard_divide(const char *select, EvsProjectionKind kind);
extern int64 evs_shard_hashes(void);
extern void evs_shard_check_hashes(const EvsProjection *projection);

#endif							/* EVSTORE_SHARD_H */
