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
 *	  | (or, of a rebuild that has caught up, put it in place)
 *	  | error
 *	abort --an event's, or too much at once--> cut --> claim
 *	  | else, or of a batch of one event
 *	record the failure in a transaction of its own, back off --> claim
 *	(or, if it is the same event once too often: stop, skip or park)
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/backoff.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/settings.h"
#include "base/wakeup.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "project/apply.h"
#include "project/audit.h"
#include "project/batch.h"
#include "project/checkpoint.h"
#include "project/failure.h"
#include "project/generation.h"
#include "project/progress.h"
#include "project/swap.h"
#include "project/timeout.h"
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

/* How often a worker says that it has cut batches in vain, in milliseconds. */
#define VAIN_SEARCH_MS 60000

PGDLLEXPORT void evs_worker_main(Datum arg);

/* The projection is gone or held, or somebody else is at work on it: look again soon, or when the manager says. */
static void
leave_for_manager(const EvsClaim *claim)
{
	evs_progress_failed(claim, evs_backoff_until(1, GetCurrentTimestamp()), 0);
}

/* A batch was cancelled by its timer: say so, in place of the error that this made. */
EVS_NORETURN static void
report_timeout(const EvsClaim *claim, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("canceling the batch, as it takes longer than the projection's time-out"),
			 errdetail("The time-out is %d ms.", claim->timeout),
			 errhint("Change it, or the batch_size, with evstore.set_projection()."),
			 error->context ? errcontext("%s", error->context) : 0));
}

/* Apply one batch, in the time that it has. */
static bool
apply_in_time(const EvsClaim *claim, EvsReach *reach, EvsPosition safe, bool *empty)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool exists = false;

	evs_timeout_start(claim->timeout);
	PG_TRY();
	{
		exists = evs_batch_apply(claim, reach, safe, empty);
	}
	PG_CATCH();
	{
		if (evs_timeout_stop() && geterrcode() == ERRCODE_QUERY_CANCELED)
			report_timeout(claim, context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	(void) evs_timeout_stop();
	return exists;
}

/*
 * All parts of a batch that failed have gone well, though each might have been
 * to blame. Nothing is wrong, but slow; so say it, now and then.
 */
static void
report_vain_search(const EvsClaim *claim, const EvsReach *reach)
{
	static TimestampTz reported = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (claim->suspect == 0 || reach->position < claim->suspect || claim->reach.failing ||
		!TimestampDifferenceExceeds(reported, now, VAIN_SEARCH_MS))
		return;
	reported = now;
	ereport(LOG,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("a batch of projection %d that failed went well in parts, up to position %lld",
					claim->projection, (long long) claim->suspect),
			 errhint("With log_min_messages = debug1 the log has the error.")));
}

/* A swap has yet to wait. */
#define SWAP_AGAIN_MS 100

/* A rebuild is being put in place, and the claims of its projection's shards are held, if there are any. */
static EvsClaim rebuilt[EVS_MAX_SHARDS];
static int	rebuilt_count = 0;
static bool swapping = false;

/* The swap is over, or has failed: others may apply the projection again. */
static void
release_rebuilt(void)
{
	for (int i = 0; i < rebuilt_count; i++)
		evs_progress_release(&rebuilt[i], 0);
	rebuilt_count = 0;
	swapping = false;
}

/*
 * Has a rebuild caught up? The swap applies the rest. But what has failed, or
 * may, is for a batch of its own, which finds the event that is to blame.
 */
static bool
is_to_swap(const EvsClaim *claim, EvsPosition safe)
{
	EvsPosition rest = safe - claim->reach.position;

	return claim->rebuilds != 0 &&
		(rest <= 0 || (rest <= EVS_SWAP_REST && claim->suspect == 0 && claim->span == 0 && !claim->reach.failing));
}

/* A rebuild has caught up: put it in place. */
static void
swap(const EvsClaim *claim)
{
	EvsSwapResult result;
	EvsReach	reaches[EVS_MAX_SHARDS];

	rebuilt_count = evs_progress_claim_rebuilt(claim, rebuilt);
	swapping = true;
	evs_loop_begin("putting a rebuild in place");
	if (evs_catalog_find() == NULL)
		evs_process_finish();
	PushActiveSnapshot(GetTransactionSnapshot());
	result = evs_swap(claim, rebuilt, rebuilt_count, reaches);
	evs_loop_end();

	for (int i = 0; result == EVS_SWAP_DONE && i < rebuilt_count; i++)
		evs_progress_applied(&rebuilt[i], reaches[i]);
	if (result == EVS_SWAP_DONE)
		rebuilt_count = 0;
	release_rebuilt();
	if (result == EVS_SWAP_LATER)
		evs_progress_release(claim, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SWAP_AGAIN_MS));
	else
		leave_for_manager(claim);
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
	if (is_to_swap(claim, safe))
	{
		evs_loop_end();
		swap(claim);
		return;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	exists = apply_in_time(claim, &reach, safe, &empty);
	evs_loop_end();

	if (exists && empty)
		evs_progress_passed(claim, reach.position);
	if (exists)
		evs_progress_applied(claim, reach);
	else
		leave_for_manager(claim);
	if (exists)
		report_vain_search(claim, &reach);
}

/* The checkpoint was not where it was believed to be: believe the table. */
static void
read_checkpoint(const EvsClaim *claim)
{
	EvsReach	reach;
	bool		exists;

	evs_loop_begin("reading a checkpoint");
	PushActiveSnapshot(GetTransactionSnapshot());
	exists = evs_checkpoint_read(claim->projection, &reach);
	evs_loop_end();

	if (!exists || (reach.checkpoint == claim->reach.checkpoint && reach.parked == claim->reach.parked))
		leave_for_manager(claim);
	else
		evs_progress_applied(claim, reach);
}

/* Abort a transaction, and forget what was learnt in it. */
static void
abort_batch(void)
{
	AbortCurrentTransaction();
	/* What its statement names may have changed: build it anew next time. */
	evs_apply_forget_all();
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Does what the claimed projection does go well without the event? None of it is kept. */
static bool
passes_without(const EvsClaim *claim, EvsPosition event, MemoryContext context)
{
	volatile bool passes = false;

	evs_timeout_start(claim->timeout);
	PG_TRY();
	{
		evs_loop_begin("looking whether an event is to blame");
		PushActiveSnapshot(GetTransactionSnapshot());
		passes = evs_batch_try_without(claim->projection, event);
		SPI_finish();
		PopActiveSnapshot();
	}
	PG_CATCH();
	{
		/* Most likely the same again, which the log has. */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	(void) evs_timeout_stop();
	abort_batch();
	MemoryContextSwitchTo(context);
	return passes;
}

/* A batch failed, by the fault of one event or (0) of none: record it, and what becomes of that. */
static void
record_failure(EvsClaim *claim, const ErrorData *error, EvsPosition event)
{
	EvsVerdict	verdict;
	int			failures;

	evs_loop_begin("recording a failure");
	PushActiveSnapshot(GetTransactionSnapshot());
	verdict = evs_failure_record(claim, error, event, &failures);
	evs_loop_end();

	switch (verdict)
	{
		case EVS_RETRY:
			evs_progress_failed(claim, evs_backoff_until(failures, GetCurrentTimestamp()), event);
			break;
		case EVS_PASSED:
			evs_progress_applied(claim, claim->reach);
			break;
		case EVS_STOPPED:
			leave_for_manager(claim);
			break;
		case EVS_ELSEWHERE:
			read_checkpoint(claim);
			break;
	}
}

/* Apply one batch, and keep an error of the projection's from ending the worker. */
static void
apply_batch_safely(EvsClaim *claim, MemoryContext context)
{
	ErrorData  *volatile error = NULL;
	volatile EvsBlame blame = EVS_BLAME_NOBODY;
	EvsAttempt	attempt;
	bool		swapped;

	evs_batch_begin();
	PG_TRY();
	{
		apply_batch(claim);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		blame = evs_failure_blame(error);
		attempt = evs_batch_attempt();
		/* What is cut is not news: either it passes in parts, or the one event is found. */
		if (blame != EVS_BLAME_NOBODY && attempt.first < attempt.to)
			ereport(DEBUG1,
					(errmsg_internal("cutting the batch of projection %d from %lld to %lld: %s", claim->projection,
									 (long long) attempt.first, (long long) attempt.to, error->message)));
		else if (!evs_batch_was_overtaken())
			EmitErrorReport();
		FlushErrorState();
		abort_batch();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	swapped = swapping;
	release_rebuilt();
	if (error == NULL)
		return;
	attempt = evs_batch_attempt();
	if (evs_batch_was_overtaken())
		read_checkpoint(claim);
	else if (blame != EVS_BLAME_NOBODY && (attempt.first < attempt.to || (swapped && attempt.first != 0)))
		evs_progress_cut(claim, blame == EVS_BLAME_EVENT ? attempt.to : 0,
						 (int) Min(Max((attempt.to - attempt.first + 1) / 2, 1), PG_INT32_MAX));
	else if (blame == EVS_BLAME_EVENT && passes_without(claim, attempt.first, context))
		record_failure(claim, error, attempt.first);
	else
		record_failure(claim, error, 0);
}

/* When the next projection is to be audited, by the first worker of a database; 0: that is off. */
static TimestampTz next_audit = 0;

/* Is an audit due? Keeps up with the setting. */
static bool
audit_is_due(int number)
{
	TimestampTz now = GetCurrentTimestamp();

	if (number != 0 || evs_audit_interval == 0)
		next_audit = 0;
	else if (next_audit == 0 || next_audit > TimestampTzPlusMilliseconds(now, evs_audit_interval))
		next_audit = TimestampTzPlusMilliseconds(now, evs_audit_interval);
	return next_audit != 0 && next_audit <= now;
}

/* Verify a sample of a projection, and keep what is wrong with that from ending the worker. */
static void
audit_safely(MemoryContext context)
{
	volatile int projection = 0;
	volatile bool failed = false;

	PG_TRY();
	{
		evs_loop_begin("auditing a projection");
		PushActiveSnapshot(GetTransactionSnapshot());
		projection = evs_audit_next();
		if (projection != 0)
			evs_audit(projection);
		evs_loop_end();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		pgstat_report_activity(STATE_IDLE, NULL);
		failed = true;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(context);
	if (failed && projection != 0)
	{
		evs_loop_begin("recording an audit");
		PushActiveSnapshot(GetTransactionSnapshot());
		evs_audit_record(projection, EVS_AUDIT_FAILED);
		evs_loop_end();
	}
	next_audit = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), evs_audit_interval);
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

/*
 * The worker ends: what it had claimed, or was rung for, is for the others. They
 * may have found it claimed, and sleep.
 */
static void
give_back(int code, Datum arg)
{
	evs_wakeup_unlisten();
	evs_progress_release_all();
	evs_wakeup_ring_worker(evs_database_slot());
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
		else if (audit_is_due(number))
		{
			if (listening)
				evs_wakeup_unlisten();
			listening = false;
			audit_safely(context);
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
			if (next_audit != 0 && (next_retry == 0 || next_audit < next_retry))
				next_retry = next_audit;
			evs_loop_sleep(next_retry, wait_event);
			evs_wakeup_unlisten();
			listening = false;
		}
	}
}
