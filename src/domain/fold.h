/*
 * fold.h
 *		Folding the events of a stream into its state.
 */
#ifndef EVSTORE_FOLD_H
#define EVSTORE_FOLD_H

#include "datatype/timestamp.h"
#include "domain/aggregate.h"
#include "store/table.h"

/* A state, and the event it stands after; version 0 is the initial state. */
typedef struct EvsState
{
	Datum		value;			/* a copy of the caller's */
	bool		isnull;
	EvsVersion	version;
	EvsPosition position;
} EvsState;

/* Up to where to fold. */
typedef struct EvsFoldLimit
{
	EvsVersion	version;		/* PG_INT64_MAX: to the end */
	TimestampTz time;			/* DT_NOEND: to the end */
} EvsFoldLimit;

extern EvsState evs_fold_initial_state(const EvsAggregate *aggregate);
extern void evs_fold(const EvsAggregate *aggregate, EvsTable *table, const text *stream,
					 EvsFoldLimit limit, EvsState *state);

#endif							/* EVSTORE_FOLD_H */
