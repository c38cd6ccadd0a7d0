/*
 * call.h
 *		Calling a function of a user's many times.
 */
#ifndef EVSTORE_CALL_H
#define EVSTORE_CALL_H

typedef struct EvsCall EvsCall;

extern EvsCall *evs_call_begin(Oid function);
extern bool evs_call_is_strict(const EvsCall *call);
extern Datum evs_call(EvsCall *call, const NullableDatum *arguments, bool *isnull);
extern void evs_call_end(EvsCall *call);

#endif							/* EVSTORE_CALL_H */
