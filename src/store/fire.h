/*
 * fire.h
 *		Firing the triggers of what append() inserts.
 */
#ifndef EVSTORE_FIRE_H
#define EVSTORE_FIRE_H

#include "commands/trigger.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

/* Triggers to be fired when an append has inserted all it has to; private to fire.c. */
typedef struct EvsFiring
{
	EState	   *estate;			/* NULL if there are none to be fired */
	ResultRelInfo *result;
	TransitionCaptureState *capture;	/* what statement triggers will see, or NULL */
} EvsFiring;

extern void evs_fire_begin(EvsFiring *firing, Relation rel);
extern void evs_fire_note(EvsFiring *firing, TupleTableSlot *slot);
extern void evs_fire_end(EvsFiring *firing);

#endif							/* EVSTORE_FIRE_H */
