/*
 * shards.h
 *		The shards of a projection: how many there are, and what is theirs.
 */
#ifndef EVSTORE_SHARDS_H
#define EVSTORE_SHARDS_H

#include "project/projection.h"

/* A shard as a snapshot sees it. */
typedef struct EvsShardSeen
{
	int			id;
	int			shard;
	int			shards;
	EvsPosition position;
} EvsShardSeen;

extern List *evs_shards_list(int whole);
extern List *evs_shards_seen(int whole);
extern bool evs_shards_lock_modes(const List *ids, bool wait);
extern void evs_shards_check_number(int shards);
extern void evs_shards_align(int whole);
extern void evs_shards_set(int whole, int shards);
extern void evs_shards_settle_passed(const EvsProjection *whole, int shards);
extern void evs_shards_make_views(const EvsProjection *whole);

#endif							/* EVSTORE_SHARDS_H */
