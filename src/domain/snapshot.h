/*
 * snapshot.h
 *		Kept states of streams.
 */
#ifndef EVSTORE_SNAPSHOT_H
#define EVSTORE_SNAPSHOT_H

#include "domain/fold.h"

extern bool evs_snapshot_find(const EvsAggregate *aggregate, const text *stream, EvsVersion to, EvsState *state);

#endif							/* EVSTORE_SNAPSHOT_H */
