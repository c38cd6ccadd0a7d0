/*
 * bounds.h
 *		The bounds of the batch that this session applies.
 */
#ifndef EVSTORE_BOUNDS_H
#define EVSTORE_BOUNDS_H

#include "store/event.h"

/* The events of a batch: from < position <= to, and of those the ones that belong to a shard. */
typedef struct EvsBounds
{
	EvsPosition from;
	EvsPosition to;
	int			shard;			/* from 0, */
	int			shards;			/* of so many; with 0 or 1, all belong to it */
} EvsBounds;

extern const EvsBounds *evs_bounds(void);
extern const EvsBounds *evs_bounds_set(const EvsBounds *bounds);
extern int	evs_bounds_execute_outside(const char *sql);

#endif							/* EVSTORE_BOUNDS_H */
