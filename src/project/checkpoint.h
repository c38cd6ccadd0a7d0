/*
 * checkpoint.h
 *		The checkpoint of a projection.
 */
#ifndef EVSTORE_CHECKPOINT_H
#define EVSTORE_CHECKPOINT_H

#define EVS_NO_CHECKPOINT	(-1)

extern EvsPosition evs_checkpoint_lock(int projection);
extern void evs_checkpoint_advance(int projection, EvsPosition position);
extern int	evs_checkpoint_fail(int projection, const char *message);

#endif							/* EVSTORE_CHECKPOINT_H */
