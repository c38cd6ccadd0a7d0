/*
 * apply.h
 *		Applying the events between two positions to a projection.
 */
#ifndef EVSTORE_APPLY_H
#define EVSTORE_APPLY_H

#include "project/bounds.h"
#include "project/projection.h"

/* What this session keeps of a projection that it applies; private but for its definition. */
typedef struct EvsApplied
{
	EvsProjection *definition;
	struct EvsAppliedState *state;
} EvsApplied;

/* Up to so many positions are few events. */
#define EVS_FEW_EVENTS 5000

extern void evs_apply_prepare_process(void);
extern void evs_apply_plan_for_many(const EvsProjection *projection);
extern EvsApplied *evs_apply_find(int id);
extern void evs_apply_check(const EvsProjection *projection);
extern bool evs_apply_events(EvsApplied *applied, EvsBounds bounds);
extern void evs_apply_imagine(const EvsProjection *projection, EvsBounds bounds,
							  void (*function) (void *, const EvsBounds *), void *argument);
extern bool evs_apply_ranges(EvsApplied *applied, const EvsBounds *ranges, int count);
extern void evs_apply_apart(EvsProjection *projection, EvsBounds bounds);
extern void evs_apply_forget_all(void);

#endif							/* EVSTORE_APPLY_H */
