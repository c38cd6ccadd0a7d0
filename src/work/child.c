/*
 * child.c
 *		A parent's view of one child process: start it, notice that it ended,
 *		start it again with growing pauses.
 *
 * Children are dynamic background workers that never restart by themselves:
 * only their parent knows whether they are still wanted. Used by the launcher
 * for managers and by a manager for workers.
 */
#include "evstore.h"

#include "base/backoff.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "work/child.h"

/* A child that ran this long is well: its failures are forgotten. */
#define HEALTHY_MS	10000

static const struct
{
	const char *type;
	const char *main;
}			kinds[] = {
	[EVS_PROCESS_MANAGER] = {"evstore manager", "evs_manager_main"},
	[EVS_PROCESS_WORKER] = {"evstore worker", "evs_worker_main"},
};

/* Note a failure to start or to stay. */
static EvsChildState
fail(EvsChild *child)
{
	child->failures++;
	child->retry_at = evs_backoff_until(child->failures, GetCurrentTimestamp());
	return EVS_CHILD_WAITING;
}

/* Say, once until it works again, that there is no room for another process. */
static void
warn_full(const EvsChild *child)
{
	if (child->failures > 0)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("could not start an %s for database \"%s\": no free background worker",
					kinds[child->kind].type, child->database_name),
			 errdetail("max_worker_processes is %d. evstore needs one for its launcher, and for each database that has it one and evstore.workers more.",
					   max_worker_processes),
			 errhint("Raise max_worker_processes and restart the server. Until then this is tried again and again.")));
}

/* Start a child. */
static EvsChildState
start(EvsChild *child)
{
	BackgroundWorker worker = {0};
	MemoryContext caller;
	bool		registered;

	if (!evs_process_reserve(child->kind, child->database, child->number, &child->id))
	{
		warn_full(child);
		return fail(child);
	}

	snprintf(worker.bgw_type, BGW_MAXLEN, "%s", kinds[child->kind].type);
	if (child->kind == EVS_PROCESS_WORKER)
		snprintf(worker.bgw_name, BGW_MAXLEN, "%s %d for %s",
				 kinds[child->kind].type, child->number + 1, child->database_name);
	else
		snprintf(worker.bgw_name, BGW_MAXLEN, "%s for %s",
				 kinds[child->kind].type, child->database_name);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "%s", EVS_EXTENSION);
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "%s", kinds[child->kind].main);
	memcpy(worker.bgw_extra, &child->id, sizeof(child->id));
	worker.bgw_notify_pid = MyProcPid;

	caller = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &child->handle);
	MemoryContextSwitchTo(caller);
	if (!registered)
	{
		child->handle = NULL;
		(void) evs_process_collect(child->id);
		warn_full(child);
		return fail(child);
	}
	child->started_at = GetCurrentTimestamp();
	return EVS_CHILD_RUNNING;
}

/* Does a child that was started not run any more? */
bool
evs_child_has_stopped(EvsChild *child)
{
	pid_t		pid;

	return child->handle == NULL || GetBackgroundWorkerPid(child->handle, &pid) == BGWH_STOPPED;
}

/*
 * See to it that a child runs, and say how it stands. One that ended is
 * noticed in any case; it is started (again) only if it may be.
 */
EvsChildState
evs_child_tend(EvsChild *child, bool may_start)
{
	TimestampTz now = GetCurrentTimestamp();

	if (child->handle)
	{
		if (!evs_child_has_stopped(child))
			return EVS_CHILD_RUNNING;
		pfree(child->handle);
		child->handle = NULL;
		switch (evs_process_collect(child->id))
		{
			case EVS_OUTCOME_DONE:
				return EVS_CHILD_DONE;
			case EVS_OUTCOME_STOPPED:
				child->failures = 0;
				child->retry_at = 0;
				break;
			case EVS_OUTCOME_LOST:
				if (TimestampDifferenceExceeds(child->started_at, now, HEALTHY_MS))
					child->failures = 0;
				return fail(child);
		}
	}
	if (!may_start || child->retry_at > now)
		return EVS_CHILD_WAITING;
	return start(child);
}
