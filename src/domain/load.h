/*
 * load.h
 *		Loading the state of a stream.
 */
#ifndef EVSTORE_LOAD_H
#define EVSTORE_LOAD_H

#include "domain/fold.h"
#include "utils/jsonb.h"

extern EvsState evs_load_state(const EvsAggregate *aggregate, EvsTable *table, const text *stream, EvsFoldLimit limit);
extern Datum evs_load_state_as_jsonb(const EvsAggregate *aggregate, const EvsState *state);

#endif							/* EVSTORE_LOAD_H */
