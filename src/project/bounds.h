/*
 * bounds.h
 *		The bounds of the batch that this session applies.
 */
#ifndef EVSTORE_BOUNDS_H
#define EVSTORE_BOUNDS_H

#include "store/event.h"

/* The events of a batch: from < position <= to. */
typedef struct EvsBounds
{
	EvsPosition from;
	EvsPosition to;
} EvsBounds;

extern const EvsBounds *evs_bounds(void);
extern const EvsBounds *evs_bounds_set(const EvsBounds *bounds);
extern int	evs_bounds_execute_outside(const char *sql);

#endif							/* EVSTORE_BOUNDS_H */
