/*
 * worker.c
 *		A worker: takes the projection that waited longest, applies one batch,
 *		puts it back.
 *
 * No projection is bound to a worker, so one that is slow or failing holds
 * back no other. The state machine of a turn:
 *
 *	claim --none due--> listen, look again --still none--> sleep
 *	  | one due
 *	apply a batch --committed--> tell who waits --> claim
 *	  | error
 *	abort, record the failure in a transaction of its own, back off --> claim
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/backoff.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/wakeup.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "project/apply.h"
#include "project/batch.h"
#include "project/checkpoint.h"
#include "project/generation.h"
#include "project/progress.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "store/position.h"
#include "utils/elog.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "work/loop.h"
#include "work/process.h"

PGDLLEXPORT void evs_worker_main(Datum arg);

/* The projection is gone or paused: the manager has yet to hear of it. */
static void
leave_for_manager(const EvsClaim *claim)
{
	evs_progress_failed(claim, evs_backoff_until(1, GetCurrentTimestamp()));
}

/* Apply one batch of a claimed projection. */
static void
apply_batch(const EvsClaim *claim)
{
	EvsReach	reach = claim->reach;
	EvsPosition safe;
	bool		exists;
	bool		empty;

	evs_loop_begin("applying a batch");
	if (evs_catalog_find() == NULL)
		evs_process_finish();

	/* First the mark, then the snapshot: store/position.c. */
	safe = evs_position_safe();
	PushActiveSnapshot(GetTransactionSnapshot());
	exists = evs_batch_apply(claim->projection, &reach, safe, &empty);
	evs_loop_end();

	if (exists && empty)
		evs_progress_passed(claim, reach.position);
	if (exists)
		evs_progress_applied(claim, reach);
	else
		leave_for_manager(claim);
}

/* The checkpoint was not where it was believed to be: believe the table. */
static void
read_checkpoint(const EvsClaim *claim)
{
	EvsPosition position;
	EvsReach	reach;

	evs_loop_begin("reading a checkpoint");
	PushActiveSnapshot(GetTransactionSnapshot());
	position = evs_checkpoint_read(claim->projection);
	evs_loop_end();

	reach.checkpoint = reach.position = position;
	reach.failing = claim->reach.failing;
	if (position == EVS_NO_CHECKPOINT || position == claim->reach.checkpoint)
		leave_for_manager(claim);
	else
		evs_progress_applied(claim, reach);
}

/* What evstore.projections shows of an error. */
static char *
describe_error(const ErrorData *error)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
	if (error->detail)
		appendStringInfo(&text, "\nDETAIL: %s", error->detail);
	if (error->hint)
		appendStringInfo(&text, "\nHINT: %s", error->hint);
	if (error->context)
		appendStringInfo(&text, "\nCONTEXT: %s", error->context);
	return text.data;
}

/* A batch failed, and its transaction is aborted: record it, and try again later. */
static void
record_failure(const EvsClaim *claim, const ErrorData *error)
{
	int			failures;

	evs_loop_begin("recording a failure");
	PushActiveSnapshot(GetTransactionSnapshot());
	failures = evs_checkpoint_fail(claim->projection, describe_error(error));
	evs_loop_end();
	evs_progress_failed(claim, evs_backoff_until(failures, GetCurrentTimestamp()));
}

/* Apply one batch, and keep an error of the projection's from ending the worker. */
static void
apply_batch_safely(const EvsClaim *claim, MemoryContext context)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		apply_batch(claim);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!evs_batch_was_overtaken())
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		/* What its statement names may have changed: build it anew next time. */
		evs_apply_forget_all();
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	if (error && evs_batch_was_overtaken())
		read_checkpoint(claim);
	else if (error)
		record_failure(claim, error);
}

/*
 * The safe position, where shared memory may not know it: until somebody
 * appends, there may be events from before the server's start, or restored.
 */
static EvsPosition
look_for_work(Oid *sequence)
{
	EvsPosition safe;

	evs_loop_begin("looking for work");
	if (evs_catalog_find() == NULL)
		evs_process_finish();
	*sequence = evs_catalog()->position_sequence;
	safe = evs_position_safe();
	evs_loop_end();
	return safe;
}

/* The worker ends: what it had claimed is for the others. */
static void
give_back(int code, Datum arg)
{
	evs_progress_release_all();
}

/* Main function of a worker. */
void
evs_worker_main(Datum arg)
{
	Oid			database;
	int			number = evs_loop_connect(&database);
	EvsDatabaseSlot slot = evs_database_slot();
	uint32		wait_event = EVS_WAIT_EVENT("EvstoreWorker");
	uint32		seen = evs_generation(slot);
	EvsPosition known_safe;		/* used while shared memory knows none */
	Oid			sequence;
	bool		listening = false;
	MemoryContext context;

	pgstat_report_appname("evstore worker");
	evs_apply_prepare_process();
	before_shmem_exit(give_back, (Datum) 0);
	context = AllocSetContextCreate(TopMemoryContext, "evstore worker", ALLOCSET_DEFAULT_SIZES);
	known_safe = look_for_work(&sequence);

	for (;;)
	{
		EvsClaim	claim;
		EvsPosition safe;
		TimestampTz next_retry;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
		if (seen != evs_generation(slot))
		{
			seen = evs_generation(slot);
			known_safe = look_for_work(&sequence);
			MemoryContextSwitchTo(context);
		}

		safe = evs_position_peek(sequence);
		if (evs_progress_claim(database, safe ? safe : known_safe, GetCurrentTimestamp(), &claim, &next_retry))
		{
			if (listening)
				evs_wakeup_unlisten();
			listening = false;
			if (claim.more)
				evs_wakeup_ring_worker(slot);
			apply_batch_safely(&claim, context);
			/* What the owner's code locked for the session was locked for its batch. */
			LockReleaseAll(USER_LOCKMETHOD, true);
		}
		else if (!listening)
		{
			evs_wakeup_listen(slot, EVS_BELL_WORKER(number));
			listening = true;
			if (safe == 0)
				known_safe = look_for_work(&sequence);
		}
		else
		{
			evs_loop_sleep(next_retry, wait_event);
			evs_wakeup_unlisten();
			listening = false;
		}
	}
}
