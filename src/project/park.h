/*
 * park.h
 *		Events that a projection passes without applying them.
 */
#ifndef EVSTORE_PARK_H
#define EVSTORE_PARK_H

#include "project/projection.h"
#include "utils/elog.h"

/* The streams that a projection holds back; private but for its name. */
typedef struct EvsParked EvsParked;

extern EvsParked *evs_park_load(const EvsProjection *projection, int streams);
extern EvsPosition evs_park_next(const EvsProjection *projection, const EvsParked *parked, EvsPosition to);
extern EvsPosition evs_park_hold(const EvsProjection *projection, EvsParked *parked, EvsPosition checkpoint,
								 EvsPosition first, EvsPosition to);
extern bool evs_park_give_up(const EvsProjection *projection, EvsPosition position, EvsPosition checkpoint,
							 const ErrorData *error, bool *parked);

#endif							/* EVSTORE_PARK_H */
