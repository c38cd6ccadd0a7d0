/*
 * catchup.h
 *		Applying a big batch of a query projection.
 */
#ifndef EVSTORE_CATCHUP_H
#define EVSTORE_CATCHUP_H

#include "project/bounds.h"

/* The name by which an upsert finds the rows of its batch. */
#define EVS_CATCHUP_ROWS "_batch_rows"

extern uint64 evs_catchup_apply(const char *select, const char *upsert, const EvsBounds *ranges, int count);

#endif							/* EVSTORE_CATCHUP_H */
