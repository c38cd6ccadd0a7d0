/*
 * position.h
 *		Positions: the exact global order.
 */
#ifndef EVSTORE_POSITION_H
#define EVSTORE_POSITION_H

#include "base/shmem.h"
#include "base/xact.h"

/* Before the first call of evs_position_hold() in a transaction. */
#define EVS_POSITION_NOT_HELD ((EvsPosition) -1)

extern const EvsShmemPart evs_position_shmem;
extern const EvsXactSubscriber evs_position_xact;

extern void evs_position_require_primary(void);
extern EvsPosition evs_position_allocate(int count);
extern EvsPosition evs_position_hold(EvsPosition held);
extern void evs_position_choose(EvsPosition position);
extern void evs_position_chosen(bool release);
extern EvsPosition evs_position_safe(void);
extern EvsPosition evs_position_peek(Oid sequence);
extern EvsPosition evs_position_last(void);
extern EvsPosition evs_position_mine(void);
extern EvsPosition evs_position_session_last(void);

#endif							/* EVSTORE_POSITION_H */
