/*
 * steer.h
 *		How a projection is applied, as its owner may change it at any time.
 */
#ifndef EVSTORE_STEER_H
#define EVSTORE_STEER_H

#include "project/projection.h"

extern void evs_steer_check_parking(const EvsProjection *projection);
extern void evs_steer_set(int projection, FunctionCallInfo fcinfo, int first);

#endif							/* EVSTORE_STEER_H */
