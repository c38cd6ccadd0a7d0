/*
 * park.h
 *		Events that a projection passes without applying them.
 */
#ifndef EVSTORE_PARK_H
#define EVSTORE_PARK_H

#include "project/projection.h"
#include "utils/elog.h"

/* What is kept of an event that is passed. */
typedef struct EvsParkedEvent
{
	EvsPosition position;
	EvsVersion	version;		/* 0 if it has no stream */
	Datum		stream;			/* text; nothing if it has no stream */
	Datum		type;			/* text */
} EvsParkedEvent;

extern bool evs_park_find(const EvsProjection *projection, int streams, EvsPosition to, EvsParkedEvent *event);
extern bool evs_park_hold(int projection, const EvsParkedEvent *event, EvsPosition checkpoint);
extern bool evs_park_give_up(const EvsProjection *projection, EvsPosition position, EvsPosition checkpoint,
							 const ErrorData *error, bool *parked);

#endif							/* EVSTORE_PARK_H */
