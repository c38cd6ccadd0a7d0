/*
 * wakeup.h
 *		Bells: how one process wakes another.
 */
#ifndef EVSTORE_WAKEUP_H
#define EVSTORE_WAKEUP_H

#include "base/shmem.h"

/* Bells of one database: one for the manager, then one a worker. */
#define EVS_BELL_MANAGER	0
#define EVS_BELL_WORKER(n)	(1 + (n))

extern const EvsShmemPart evs_wakeup_shmem;

extern void evs_wakeup_ring_worker(EvsDatabaseSlot database);
extern void evs_wakeup_ring_manager(EvsDatabaseSlot database);
extern void evs_wakeup_ring_launcher(void);

extern void evs_wakeup_listen(EvsDatabaseSlot database, int bell);
extern void evs_wakeup_listen_launcher(void);
extern void evs_wakeup_unlisten(void);

#endif							/* EVSTORE_WAKEUP_H */
