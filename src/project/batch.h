/*
 * batch.h
 *		Applying one batch of events to one projection.
 */
#ifndef EVSTORE_BATCH_H
#define EVSTORE_BATCH_H

#include "project/progress.h"
#include "project/projection.h"

/* The events that the last batch was about to apply: the first of them, and up to where. 0 if there were none. */
typedef struct EvsAttempt
{
	EvsPosition first;
	EvsPosition to;
} EvsAttempt;

extern void evs_batch_begin(void);
extern bool evs_batch_apply(const EvsClaim *claim, EvsReach *reach, EvsPosition safe, bool *empty);
extern bool evs_batch_try_without(int projection, EvsPosition event);
extern EvsPosition evs_batch_next_of_any(const EvsProjection *projection, EvsPosition after);
extern bool evs_batch_was_overtaken(void);
extern EvsAttempt evs_batch_attempt(void);
extern bool evs_batch_is_shared(const EvsProjection *projection, EvsPosition position);
extern void evs_batch_check_alone(const EvsProjection *projection, EvsPosition position);
extern EvsPosition evs_batch_next_event(Oid event_table, EvsPosition after, TimestampTz *recorded_at);

#endif							/* EVSTORE_BATCH_H */
