/*
 * catchup.h
 *		Applying a big batch of a query projection.
 */
#ifndef EVSTORE_CATCHUP_H
#define EVSTORE_CATCHUP_H

#include "store/event.h"

/* The name by which an upsert finds the rows of its batch. */
#define EVS_CATCHUP_ROWS "_batch_rows"

extern uint64 evs_catchup_apply(const char *select, const char *upsert, EvsPosition from, EvsPosition to);

#endif							/* EVSTORE_CATCHUP_H */
