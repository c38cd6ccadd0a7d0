/*
 * checkpoint.h
 *		The checkpoint of a projection.
 */
#ifndef EVSTORE_CHECKPOINT_H
#define EVSTORE_CHECKPOINT_H

#define EVS_NO_CHECKPOINT	(-1)

extern bool evs_checkpoint_move(int projection, EvsPosition from, EvsPosition to);
extern EvsPosition evs_checkpoint_read(int projection);
extern int	evs_checkpoint_fail(int projection, const char *message);

#endif							/* EVSTORE_CHECKPOINT_H */
