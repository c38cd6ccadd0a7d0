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
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/batch.h"
#include "project/checkpoint.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The checkpoint follows a projection that nothing changes after so many positions. */
#define MOVE_UNCHANGED 10000

/* The last batch found its checkpoint moved, paused or gone. */
static bool overtaken = false;

PG_FUNCTION_INFO_V1(evs_lag_seconds);

/* The position of the first event of a table after a position, or 0, and its time. */
static EvsPosition
next_event(Oid event_table, EvsPosition after, TimestampTz *recorded_at)
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
		*recorded_at = DatumGetTimestampTz(slot_getattr(slot, EVS_COLUMN_RECORDED_AT, &isnull));
	}
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	evs_table_close(rel);
	return position;
}

/*
 * Where a batch that starts after "from" ends. Sets *empty if there is no event
 * of the projection's table in it: stretches of other tables' events, and long
 * gaps in the positions, are passed in one step.
 */
static EvsPosition
batch_end(const EvsProjection *projection, EvsPosition from, EvsPosition safe, bool *empty)
{
	TimestampTz recorded_at;
	EvsPosition next = next_event(projection->event_table, from, &recorded_at);
	EvsPosition end = safe - from <= projection->batch_size ? safe : from + projection->batch_size;

	*empty = next == 0 || next > end;
	if (!*empty)
		return end;
	return next == 0 || next > safe ? safe : next - 1;
}

/* Did the batch that just failed find its checkpoint elsewhere? Then nobody is to blame. */
bool
evs_batch_was_overtaken(void)
{
	return overtaken;
}

/*
 * Apply the next batch of a projection, from what is believed of it, and not
 * beyond the safe position that the caller has read in this transaction before
 * any snapshot was taken. "reach" is brought up to date, and *empty set if the
 * event table has no event in the batch; false if the projection is gone. Call
 * inside SPI.
 *
 * A batch that changed nothing moves only what is believed, in memory: the
 * events below it need not be applied again, but may be. So a projection that
 * an append does not concern costs no write. Now and then the checkpoint
 * follows, so that a restart does not begin far behind; and so it does after a
 * failure, as moving it is what says that the failure is over.
 */
bool
evs_batch_apply(int projection, EvsReach *reach, EvsPosition safe, bool *empty)
{
	EvsApplied *applied;
	EvsPosition to;

	*empty = false;
	overtaken = false;
	applied = evs_apply_find(projection);
	if (applied == NULL)
		return false;
	/* The safe position can step back a little, below what made the caller come. */
	if (reach->position >= safe)
		return true;
	evs_apply_check(applied->definition);

	to = batch_end(applied->definition, reach->position, safe, empty);
	if ((!*empty && evs_apply_events(applied, (EvsBounds) {reach->position, to})) || reach->failing ||
		to - reach->checkpoint >= MOVE_UNCHANGED)
	{
		if (!evs_checkpoint_move(projection, reach->checkpoint, to))
		{
			overtaken = true;
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the checkpoint of projection \"%s\" is not at %lld any more",
							applied->definition->name, (long long) reach->checkpoint)));
		}
		reach->checkpoint = to;
		reach->failing = false;
	}
	reach->position = to;
	return true;
}

/* evstore._lag_seconds(event_table, position) */
Datum
evs_lag_seconds(PG_FUNCTION_ARGS)
{
	TimestampTz recorded_at;

	/* The view that asks outlives a table that is gone, and is open to who may not read the table. */
	if (!evs_table_is_event_table(PG_GETARG_OID(0)) ||
		pg_class_aclcheck(PG_GETARG_OID(0), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		PG_RETURN_NULL();
	if (next_event(PG_GETARG_OID(0), PG_GETARG_INT64(1), &recorded_at) == 0)
		PG_RETURN_FLOAT8(0);
	PG_RETURN_FLOAT8(Max(GetCurrentTimestamp() - recorded_at, 0) / (double) USECS_PER_SEC);
}
