/*
 * checkpoint.h
 *		The checkpoint of a projection.
 */
#ifndef EVSTORE_CHECKPOINT_H
#define EVSTORE_CHECKPOINT_H

#include "project/progress.h"

/* Where an inline projection stands: whatever is committed, it has applied. */
#define EVS_INLINE_CHECKPOINT	PG_INT64_MAX
#define EVS_INLINE_CHECKPOINT_SQL "9223372036854775807"

extern bool evs_checkpoint_move(int projection, EvsPosition from, EvsPosition to);
extern bool evs_checkpoint_pass(int projection, EvsPosition from, EvsPosition to, int events);
extern bool evs_checkpoint_give_up(int projection, EvsPosition from, EvsPosition event, bool park);
extern void evs_checkpoint_stop(int projection, const char *message);
extern bool evs_checkpoint_read(int projection, EvsReach *reach);
extern void evs_checkpoint_lock_all(int whole);
extern bool evs_checkpoint_lock(int projection, EvsReach *reach);
extern int	evs_checkpoint_fail(int projection, EvsPosition from, EvsPosition event,
								const char *message, int *given_up);

#endif							/* EVSTORE_CHECKPOINT_H */
