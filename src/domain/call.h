/*
 * call.h
 *		Calling the function that folds.
 */
#ifndef EVSTORE_CALL_H
#define EVSTORE_CALL_H

#include "domain/aggregate.h"

typedef struct EvsCall EvsCall;

extern EvsCall *evs_call_begin(const EvsAggregate *aggregate);
extern bool evs_call_is_strict(const EvsCall *call);
extern Datum evs_call_apply(EvsCall *call, Datum state, Datum event, bool *isnull);
extern void evs_call_end(EvsCall *call);

#endif							/* EVSTORE_CALL_H */
