/*
 * counters.h
 *		What has happened in a database since the server's start, in numbers.
 */
#ifndef EVSTORE_COUNTERS_H
#define EVSTORE_COUNTERS_H

#include "base/shmem.h"

typedef enum EvsCounter
{
	EVS_COUNT_TRANSACTIONS,		/* committed ones that have appended */
	EVS_COUNT_EVENTS,			/* positions that they were given */
	EVS_COUNT_CONFLICTS,		/* appends refused with VE001 */
	EVS_COUNT_CONDITIONS,		/* appends refused with VE004 */
	EVS_COUNT_WAITS,			/* times that a session slept until a projection had come somewhere */
	EVS_COUNT_TIMEOUTS,			/* those of them that were in vain */
	EVS_COUNTERS
} EvsCounter;

extern const EvsShmemPart evs_counters_shmem;

extern void evs_counters_reset(EvsDatabaseSlot database);
extern void evs_count(EvsDatabaseSlot database, EvsCounter counter, uint64 more);

#endif							/* EVSTORE_COUNTERS_H */
