/*
 * process.h
 *		evstore's managers and workers, in shared memory.
 */
#ifndef EVSTORE_PROCESS_H
#define EVSTORE_PROCESS_H

#include "base/shmem.h"

extern const EvsShmemPart evs_process_shmem;

typedef enum EvsProcessKind
{
	EVS_PROCESS_MANAGER,
	EVS_PROCESS_WORKER
} EvsProcessKind;

/* Names one life of one slot; passed between processes instead of pointers. */
typedef struct EvsProcessId
{
	int			slot;
	uint32		generation;
} EvsProcessId;

/* How a process that ended did so. */
typedef enum EvsOutcome
{
	EVS_OUTCOME_LOST,			/* an error, a signal, or it never came to run */
	EVS_OUTCOME_STOPPED,		/* it was asked to, by evs_process_stop() */
	EVS_OUTCOME_DONE			/* it found that it is not needed */
} EvsOutcome;

extern bool evs_process_reserve(EvsProcessKind kind, Oid database, int number, EvsProcessId *id);
extern EvsOutcome evs_process_collect(EvsProcessId id);
extern bool evs_process_is_settled(EvsProcessId id);

extern bool evs_process_attach(EvsProcessId id, Oid *database, int *number);
extern void evs_process_settle(void);
EVS_NORETURN extern void evs_process_finish(void);

extern void evs_process_stop_one(EvsProcessId id);
extern int	evs_process_stop(EvsProcessKind kind, Oid database);
extern bool evs_process_wait_stopped(Oid database, int timeout_ms);

#endif							/* EVSTORE_PROCESS_H */
