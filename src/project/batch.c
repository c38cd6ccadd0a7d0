/*
 * batch.c
 *		The next batch of a projection, as a worker applies it.
 *
 * Exactly once (see README.md of this folder): the caller has read the safe
 * position before the transaction's snapshots are taken; the batch is applied
 * and the checkpoint moved, if it still stands where it is believed to, both in
 * one transaction, or neither.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/batch.h"
#include "project/checkpoint.h"
#include "project/mode.h"
#include "project/park.h"
#include "project/shard.h"
#include "project/tell.h"
#include "project/view.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The checkpoint follows a projection that nothing changes after so many positions. */
#define MOVE_UNCHANGED 10000

/* The last batch found its checkpoint moved, paused or gone, or about to be. */
static bool overtaken = false;

/* What it was about to apply; empty if it has not come so far. */
static EvsAttempt attempt;

PG_FUNCTION_INFO_V1(evs_lag_seconds);

/* The position of the first event of a table after a position, or 0, and its time, if asked for. */
EvsPosition
evs_batch_next_event(Oid event_table, EvsPosition after, TimestampTz *recorded_at)
{
	Relation	rel;
	EvsTable   *table = evs_table_open(event_table, AccessShareLock, &rel);
	Relation	index = index_open(table->position_index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	IndexScanDesc scan = EVS_INDEX_BEGINSCAN(rel, index, snapshot, 1);
	ScanKeyData key;
	EvsPosition position = 0;

	ScanKeyInit(&key, 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	index_rescan(scan, &key, 1, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;

		position = DatumGetInt64(slot_getattr(slot, EVS_COLUMN_POSITION, &isnull));
		if (recorded_at)
			*recorded_at = DatumGetTimestampTz(slot_getattr(slot, EVS_COLUMN_RECORDED_AT, &isnull));
	}
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	evs_table_close(rel);
	return position;
}

/* The position of the first event of any of a projection's tables after a position, or 0. */
EvsPosition
evs_batch_next_of_any(const EvsProjection *projection, EvsPosition after)
{
	EvsPosition first = 0;
	ListCell   *cell;

	foreach(cell, projection->event_tables)
	{
		EvsPosition next = evs_batch_next_event(lfirst_oid(cell), after, NULL);

		if (next != 0 && (first == 0 || next < first))
			first = next;
	}
	return first;
}

/*
 * Do several of a projection's tables have an event at a position? Events that
 * were restored into an empty table may have the positions of others. A batch
 * is right all the same; but what is done with one event alone cannot be.
 */
bool
evs_batch_is_shared(const EvsProjection *projection, EvsPosition position)
{
	int			count = 0;
	ListCell   *cell;

	if (list_length(projection->event_tables) == 1)
		return false;
	foreach(cell, projection->event_tables)
		count += evs_batch_next_event(lfirst_oid(cell), position - 1, NULL) == position;
	return count > 1;
}

/* Refuse to do with the event at a position what would be done with that of another table as well. */
void
evs_batch_check_alone(const EvsProjection *projection, EvsPosition position)
{
	if (evs_batch_is_shared(projection, position))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot hold back, or apply by itself, the event at position %lld", (long long) position),
				 errdetail("Several event tables of projection \"%s\" have one there.", projection->name),
				 errhint("Mend the cause, and build the projection anew with evstore.rebuild_projection().")));
}

/*
 * Where a batch that starts after "from" ends. *first is set to its first
 * event, 0 if there is no event of the projection's tables in it: stretches of
 * other tables' events, and long gaps in the positions, are passed in one step.
 */
static EvsPosition
batch_end(const EvsProjection *projection, const EvsClaim *claim, EvsPosition from, EvsPosition safe, EvsPosition *first)
{
	EvsPosition next = evs_batch_next_of_any(projection, from);
	EvsPosition end = safe - from <= projection->batch_size ? safe : from + projection->batch_size;

	*first = 0;
	if (next == 0 || next > safe)
		return safe;
	if (next > end)
		return next - 1;
	*first = next;
	if (claim->span != 0)
		end = Min(end, next - 1 + claim->span);
	/* Half of what is known to fail: so the one event is found that does. */
	if (claim->suspect >= next)
		end = Min(end, next - 1 + Max((claim->suspect - next + 1) / 2, 1));
	return end;
}

/* Another batch is about to be applied: forget how the last one ended. */
void
evs_batch_begin(void)
{
	overtaken = false;
	attempt = (EvsAttempt) {0, 0};
}

/* Did the batch that just failed find its checkpoint elsewhere? Then nobody is to blame. */
bool
evs_batch_was_overtaken(void)
{
	return overtaken;
}

/* Which events the last batch was about to apply when it failed. */
EvsAttempt
evs_batch_attempt(void)
{
	return attempt;
}

/* The checkpoint is not where it was believed to be. */
static void
fail_overtaken(const EvsProjection *projection, const EvsReach *reach)
{
	overtaken = true;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the checkpoint of projection \"%s\" is not at %lld any more",
					projection->name, (long long) reach->checkpoint)));
}

/*
 * Where streams are held back, a batch locks its checkpoint first, as
 * evstore.replay_parked() does: its row says how many there are. False if
 * somebody else has it locked.
 */
static bool
lock_checkpoint(const EvsProjection *projection, const EvsReach *reach)
{
	EvsReach	actual;

	evs_view_lock(projection, AccessShareLock);
	if (!evs_checkpoint_lock(projection->id, &actual))
		return false;
	if (actual.checkpoint != reach->checkpoint || actual.parked != reach->parked)
		fail_overtaken(projection, reach);
	return true;
}

/* Apply the events of a batch, known to be those that fail if they do. Says whether anything can have changed. */
static bool
apply_events(EvsApplied *applied, EvsPosition from, EvsPosition first, EvsPosition to)
{
	bool		changed;

	evs_tell_activity(applied->definition->name, from, to);
	attempt = (EvsAttempt) {first, to};
	changed = evs_apply_events(applied, (EvsBounds) {from, to});
	attempt = (EvsAttempt) {0, 0};
	return changed;
}

/*
 * Apply the next batch of a claimed projection, not beyond the safe position
 * that the caller has read in this transaction before any snapshot was taken.
 * "reach" is what is believed of it, and is brought up to date. *empty is set
 * if the event table has no event in the batch. False if the projection is
 * gone, or somebody else is at work on it. Call inside SPI.
 *
 * A batch that changed nothing moves only what is believed, in memory: the
 * events below it need not be applied again, but may be. So a projection that
 * an append does not concern costs no write. Now and then the checkpoint
 * follows, so that a restart does not begin far behind; and so it does after a
 * failure, as moving it is what says that the failure is over.
 */
bool
evs_batch_apply(const EvsClaim *claim, EvsReach *reach, EvsPosition safe, bool *empty)
{
	EvsApplied *applied;
	EvsProjection *projection;
	EvsParked  *parked = NULL;
	EvsPosition held = 0;
	EvsPosition first;
	EvsPosition to;
	bool		changed;

	*empty = false;
	overtaken = !evs_mode_lock(claim->projection, false);
	if (overtaken)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("the mode of projection %d is being changed", claim->projection)));
	applied = evs_apply_find(claim->projection);
	if (applied == NULL)
		return false;
	/* The safe position can step back a little, below what made the caller come. */
	if (reach->position >= safe)
		return true;
	projection = applied->definition;
	/* What is believed is so of a shard that had other events. */
	if (claim->division != projection->division)
		return false;
	evs_apply_check(projection);
	evs_shard_check_hashes(projection);
	if (reach->parked > 0 && !lock_checkpoint(projection, reach))
		return false;

	to = batch_end(projection, claim, reach->position, safe, &first);
	*empty = first == 0;
	if (reach->parked > 0 && first != 0)
	{
		parked = evs_park_load(projection, reach->parked);
		held = evs_park_next(projection, parked, to);
	}
	if (held != 0 && held == first)
	{
		to = evs_park_hold(projection, parked, reach->checkpoint, first, to);
		if (to == 0)
			fail_overtaken(projection, reach);
		reach->checkpoint = reach->position = to;
		return true;
	}
	/* What is held back begins the next batch. */
	if (held != 0)
		to = held - 1;
	changed = !*empty && apply_events(applied, reach->position, first, to);
	if (changed || reach->failing || to - reach->checkpoint >= MOVE_UNCHANGED)
	{
		if (!evs_checkpoint_move(projection->id, reach->checkpoint, to))
			fail_overtaken(projection, reach);
		reach->checkpoint = to;
		reach->failing = false;
	}
	if (changed && projection->rebuilds == 0)
		evs_tell_listeners(projection->name, to, projection->shards > 1 ? projection->shard : -1);
	reach->position = to;
	return true;
}

/*
 * Do what a batch of this one event does, without the event: is it to blame?
 * False if the projection is gone. The caller rolls it back. Call inside SPI.
 */
bool
evs_batch_try_without(int projection, EvsPosition event)
{
	EvsApplied *applied = evs_apply_find(projection);

	if (applied == NULL)
		return false;
	evs_apply_check(applied->definition);
	(void) evs_apply_events(applied, (EvsBounds) {event, event});
	return true;
}

/* evstore._lag_seconds(event_table, position) */
Datum
evs_lag_seconds(PG_FUNCTION_ARGS)
{
	TimestampTz recorded_at;

	/*
	 * The view that asks outlives a table that is gone, and is open to who may
	 * read neither the table nor everybody's statistics.
	 */
	if (!evs_table_is_event_table(PG_GETARG_OID(0)) ||
		(pg_class_aclcheck(PG_GETARG_OID(0), GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		 !has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS)))
		PG_RETURN_NULL();
	if (evs_batch_next_event(PG_GETARG_OID(0), PG_GETARG_INT64(1), &recorded_at) == 0)
		PG_RETURN_FLOAT8(0);
	PG_RETURN_FLOAT8(Max(GetCurrentTimestamp() - recorded_at, 0) / (double) USECS_PER_SEC);
}
