/*
 * process.c
 *		evstore's managers and workers, in shared memory.
 *
 * A slot lives through these states; evs_lock() guards every field.
 *
 *	free --reserve--> reserved --attach--> running --exit--> ended --collect--> free
 *	                  (parent)             (child)           (child)            (parent)
 *
 * A child that never comes to run is collected from "reserved". Reserving
 * raises the slot's generation, so that a child that starts late, after its
 * parent gave up on it, finds that the slot means somebody else, and leaves.
 * A parent that ends stops its children; its successor begins by clearing the
 * slots that nobody will collect.
 */
#include "evstore.h"

#include <signal.h>

#include "base/wakeup.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "work/process.h"

typedef enum SlotState
{
	SLOT_FREE = 0,
	SLOT_RESERVED,
	SLOT_RUNNING,
	SLOT_ENDED
} SlotState;

typedef struct ProcessSlot
{
	SlotState	state;
	uint32		generation;		/* raised whenever the slot is reserved */
	EvsProcessKind kind;
	Oid			database;
	int			number;			/* of a worker, within its database */
	int			pid;			/* while running */
	bool		settled;		/* a manager has found the extension installed */
	bool		asked;			/* it was asked to end */
	EvsOutcome	outcome;		/* once ended */
} ProcessSlot;

typedef struct Processes
{
	ConditionVariable ended;	/* broadcast when a process ends */
	ProcessSlot slots[FLEXIBLE_ARRAY_MEMBER];	/* max_worker_processes of them */
} Processes;

static Processes *processes = NULL;

static ProcessSlot *my_slot = NULL;
static EvsOutcome my_outcome = EVS_OUTCOME_LOST;

/* Size of this area. */
static Size
process_size(void)
{
	return add_size(offsetof(Processes, slots), mul_size(max_worker_processes, sizeof(ProcessSlot)));
}

/* Remember where the area is; every slot is free at first. */
static void
process_attach(void *area, bool fresh)
{
	processes = area;
	if (fresh)
		ConditionVariableInit(&processes->ended);
}

const EvsShmemPart evs_process_shmem = {"evstore processes", process_size, process_attach};

/* Reserve a slot for a child; false if every slot is taken. */
bool
evs_process_reserve(EvsProcessKind kind, Oid database, int number, EvsProcessId *id)
{
	bool		found = false;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < max_worker_processes && !found; i++)
	{
		ProcessSlot *slot = &processes->slots[i];

		if (slot->state != SLOT_FREE)
			continue;
		slot->state = SLOT_RESERVED;
		slot->generation++;
		slot->kind = kind;
		slot->database = database;
		slot->number = number;
		slot->pid = 0;
		slot->settled = false;
		slot->asked = false;
		slot->outcome = EVS_OUTCOME_LOST;
		id->slot = i;
		id->generation = slot->generation;
		found = true;
	}
	LWLockRelease(evs_lock());
	return found;
}

/* The slot of an id, NULL if it means somebody else by now; the caller holds evs_lock(). */
static ProcessSlot *
slot_of(EvsProcessId id)
{
	ProcessSlot *slot = &processes->slots[id.slot];

	return slot->generation == id.generation && slot->state != SLOT_FREE ? slot : NULL;
}

/* A child has stopped, or was never started: free its slot, and say how it ended. */
EvsOutcome
evs_process_collect(EvsProcessId id)
{
	EvsOutcome	outcome = EVS_OUTCOME_LOST;
	ProcessSlot *slot;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = slot_of(id);
	if (slot)
	{
		outcome = slot->outcome;
		slot->state = SLOT_FREE;
	}
	LWLockRelease(evs_lock());
	return outcome;
}

/* Has a child found what it was started for? */
bool
evs_process_is_settled(EvsProcessId id)
{
	ProcessSlot *slot;
	bool		settled;

	LWLockAcquire(evs_lock(), LW_SHARED);
	slot = slot_of(id);
	settled = slot && slot->settled;
	LWLockRelease(evs_lock());
	return settled;
}

/* This process ends. */
static void
detach(int code, Datum arg)
{
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	my_slot->state = SLOT_ENDED;
	my_slot->outcome = my_slot->asked ? EVS_OUTCOME_STOPPED : my_outcome;
	my_slot->pid = 0;
	LWLockRelease(evs_lock());
	ConditionVariableBroadcast(&processes->ended);
}

/* A child takes up its slot; false if its parent has given up on it. */
bool
evs_process_attach(EvsProcessId id, Oid *database, int *number)
{
	ProcessSlot *slot;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = slot_of(id);
	if (slot && slot->state == SLOT_RESERVED)
	{
		slot->state = SLOT_RUNNING;
		slot->pid = MyProcPid;
		*database = slot->database;
		*number = slot->number;
		my_slot = slot;
	}
	LWLockRelease(evs_lock());
	if (my_slot)
		before_shmem_exit(detach, (Datum) 0);
	return my_slot != NULL;
}

/* This process has found what it was started for; the launcher waits to hear it. */
void
evs_process_settle(void)
{
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	my_slot->settled = true;
	LWLockRelease(evs_lock());
	evs_wakeup_ring_launcher();
}

/* This process is not needed: end without being started again. */
void
evs_process_finish(void)
{
	my_outcome = EVS_OUTCOME_DONE;
	proc_exit(0);
}

/* Ask one process, if it runs, to end. */
void
evs_process_stop_one(EvsProcessId id)
{
	ProcessSlot *slot;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = slot_of(id);
	if (slot && slot->state == SLOT_RUNNING)
	{
		slot->asked = true;
		kill(slot->pid, SIGTERM);
	}
	LWLockRelease(evs_lock());
}

/*
 * Ask the processes of a kind to end, in one database or (InvalidOid) in all,
 * and free the slots of those that have ended. Returns how many are left.
 */
int
evs_process_stop(EvsProcessKind kind, Oid database)
{
	int			left = 0;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < max_worker_processes; i++)
	{
		ProcessSlot *slot = &processes->slots[i];

		if (slot->state == SLOT_FREE || slot->kind != kind ||
			(OidIsValid(database) && slot->database != database))
			continue;
		if (slot->state == SLOT_RUNNING)
		{
			slot->asked = true;
			kill(slot->pid, SIGTERM);
			left++;
		}
		else
			slot->state = SLOT_FREE;
	}
	LWLockRelease(evs_lock());
	return left;
}

/* Does any other process of a database, or (InvalidOid) of any, run? */
static bool
any_running(Oid database)
{
	bool		found = false;

	LWLockAcquire(evs_lock(), LW_SHARED);
	for (int i = 0; i < max_worker_processes && !found; i++)
		found = processes->slots[i].state == SLOT_RUNNING && &processes->slots[i] != my_slot &&
			(!OidIsValid(database) || processes->slots[i].database == database);
	LWLockRelease(evs_lock());
	return found;
}

/* Wait until no other process of a database, or (InvalidOid) of any, runs. */
bool
evs_process_wait_stopped(Oid database, int timeout_ms)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	bool		stopped;

	ConditionVariablePrepareToSleep(&processes->ended);
	while (!(stopped = !any_running(database)))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&processes->ended, left, EVS_WAIT_EVENT("EvstoreStop"));
	}
	ConditionVariableCancelSleep();
	return stopped;
}
