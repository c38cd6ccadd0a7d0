/*
 * checkpoint.c
 *		The checkpoint of a projection: up to where it has applied.
 *
 * Its row in evstore._checkpoint is moved, and thereby locked, before a batch
 * is looked at, in the transaction that changes the read table: both or neither
 * survive, which is the whole of "exactly once". It is moved only from where
 * the batch begins, so the row itself, not somebody's memory of it, decides.
 * The row also says how often the next batch has failed, and what became of
 * that. Call inside SPI.
 *
 * The row of an inline projection stands beyond every position. So a worker
 * that still believes to have to move it from somewhere cannot.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "project/checkpoint.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Statements on the checkpoint, prepared once a process. */
typedef enum CheckpointPlan
{
	PLAN_PASS,
	PLAN_GIVE_UP,
	PLAN_STOP,
	PLAN_READ,
	PLAN_LOCK,
	PLAN_LOCK_ALL,
	PLAN_FAIL,
	PLAN_COUNT
} CheckpointPlan;

/* What says that no failure is left, in an UPDATE. */
#define NO_FAILURE "failures = 0, failed_at = NULL, last_error = NULL, failed_position = NULL"

/* The columns of an EvsReach, and which rows workers may move. */
#define REACH "SELECT \"position\", parked, failures > 0 OR given_up > 0 FROM evstore._checkpoint WHERE projection = $1"
#define AT_WORK " AND NOT paused AND NOT stopped"

static const struct
{
	const char *sql;
	int			nargs;
	Oid			types[4];
}			statements[PLAN_COUNT] = {
	[PLAN_PASS] = {"UPDATE evstore._checkpoint SET \"position\" = $3, skipped = skipped + $4, " NO_FAILURE
		" WHERE projection = $1 AND \"position\" = $2" AT_WORK,
	4, {INT4OID, INT8OID, INT8OID, INT4OID}},
	[PLAN_GIVE_UP] = {"UPDATE evstore._checkpoint SET \"position\" = $3, given_up = given_up + 1,"
		" skipped = skipped + 1, parked = parked + $4, " NO_FAILURE
		" WHERE projection = $1 AND \"position\" = $2" AT_WORK,
	4, {INT4OID, INT8OID, INT8OID, INT4OID}},
	[PLAN_STOP] = {"UPDATE evstore._checkpoint SET stopped = true, last_error = $2 WHERE projection = $1",
	2, {INT4OID, TEXTOID}},
	[PLAN_READ] = {REACH, 1, {INT4OID}},
	[PLAN_LOCK] = {REACH AT_WORK " FOR UPDATE SKIP LOCKED", 1, {INT4OID}},
	[PLAN_LOCK_ALL] = {"SELECT FROM evstore._checkpoint WHERE projection IN (SELECT id FROM evstore._projection"
		" WHERE id = $1 OR shard_of = $1 OR rebuilds = $1) ORDER BY projection FOR UPDATE", 1, {INT4OID}},
	[PLAN_FAIL] = {"UPDATE evstore._checkpoint SET failed_at = pg_catalog.clock_timestamp(),"
		" failures = CASE WHEN failed_position IS NOT DISTINCT FROM nullif($3, 0) THEN failures ELSE 0 END + 1,"
		" failed_position = nullif($3, 0), last_error = $4"
		" WHERE projection = $1 AND \"position\" = $2 RETURNING failures, given_up",
	4, {INT4OID, INT8OID, INT8OID, TEXTOID}},
};

/* Run one of the statements as the extension's owner; true if there was a row for it. */
static bool
run(CheckpointPlan which, Datum *values, int expected)
{
	static SPIPlanPtr plans[PLAN_COUNT];
	EvsOwnerFrame frame;
	int			result;

	evs_owner_begin_extension(&frame);
	if (plans[which] == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statements[which].sql, statements[which].nargs,
									   (Oid *) statements[which].types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare a statement over evstore._checkpoint");
		plans[which] = plan;
	}
	result = SPI_execute_plan(plans[which], values, NULL, false, 0);
	if (result != expected)
		elog(ERROR, "could not use evstore._checkpoint: %s", SPI_result_code_string(result));
	evs_owner_end(&frame);
	return SPI_processed > 0;
}

/* Column of the row that a statement returned; none can be null. */
static Datum
column(int number)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &isnull);
}

/* The columns of evstore._checkpoint that a move looks at or writes. */
enum
{
	COLUMN_PROJECTION = 1,
	COLUMN_POSITION,
	COLUMN_PAUSED,
	COLUMN_APPLIED_AT,
	COLUMN_FAILURES,
	COLUMN_FAILED_AT,
	COLUMN_LAST_ERROR,
	COLUMN_FAILED_POSITION,
	COLUMN_STOPPED,
	COLUMN_GIVEN_UP,
};

/* Find the row of a projection. */
static bool
find_row(Relation rel, Relation index, Snapshot snapshot, int projection, TupleTableSlot *row)
{
	IndexScanDesc scan = EVS_INDEX_BEGINSCAN(rel, index, snapshot, 1);
	ScanKeyData key;
	bool		found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(projection));
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, row);
	index_endscan(scan);
	return found;
}

/* May a row be moved from there? */
static bool
stands_at(const TupleTableSlot *row, EvsPosition from)
{
	return DatumGetInt64(row->tts_values[COLUMN_POSITION - 1]) == from &&
		!DatumGetBool(row->tts_values[COLUMN_PAUSED - 1]) && !DatumGetBool(row->tts_values[COLUMN_STOPPED - 1]);
}

/* Move it in memory; no failure is left. */
static void
move_row(TupleTableSlot *row, EvsPosition to)
{
	row->tts_values[COLUMN_POSITION - 1] = Int64GetDatum(to);
	row->tts_values[COLUMN_APPLIED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	row->tts_isnull[COLUMN_APPLIED_AT - 1] = false;
	row->tts_values[COLUMN_GIVEN_UP - 1] = Int32GetDatum(0);
	row->tts_values[COLUMN_FAILURES - 1] = Int32GetDatum(0);
	row->tts_isnull[COLUMN_FAILED_AT - 1] = true;
	row->tts_isnull[COLUMN_LAST_ERROR - 1] = true;
	row->tts_isnull[COLUMN_FAILED_POSITION - 1] = true;
}

/* Write a row in place of the one that the snapshot has shown; false if somebody else was first. */
static bool
write_row(Relation rel, Relation index, Snapshot snapshot, ItemPointer old, TupleTableSlot *row)
{
	TM_FailureData failure;
	LockTupleMode mode;
	EVS_UPDATE_INDEXES update_index;

	switch (table_tuple_update(rel, old, row, GetCurrentCommandId(true), snapshot, InvalidSnapshot, true,
							   &failure, &mode, &update_index))
	{
		case TM_Ok:
			break;
		case TM_Updated:
		case TM_Deleted:
			return false;
		default:
			elog(ERROR, "could not move a checkpoint");
	}
	/* The index's one column is the table's first. */
	if (update_index)
		(void) index_insert(index, row->tts_values, row->tts_isnull, &row->tts_tid, rel, UNIQUE_CHECK_YES, false,
							BuildIndexInfo(index));
	CommandCounterIncrement();
	return true;
}

/*
 * Move a checkpoint, and keep it locked to the end of the transaction; false if
 * it is not at "from", or held. Every batch ends with this. So it is no
 * statement: to have the executor do it takes three times as long. As an UPDATE
 * would, it waits for who has changed the row, and looks again.
 */
bool
evs_checkpoint_move(int projection, EvsPosition from, EvsPosition to)
{
	Relation	rel = table_open(get_relname_relid("_checkpoint", evs_catalog()->schema), RowExclusiveLock);
	Relation	index = index_open(get_relname_relid("_checkpoint_pkey", evs_catalog()->schema), RowExclusiveLock);
	TupleTableSlot *old = table_slot_create(rel, NULL);
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	bool		stands = true;
	bool		moved = false;

	while (stands && !moved)
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

		stands = find_row(rel, index, snapshot, projection, old);
		if (stands)
			stands = stands_at(ExecCopySlot(row, old), from);
		if (stands)
		{
			move_row(row, to);
			moved = write_row(rel, index, snapshot, &old->tts_tid, row);
		}
		UnregisterSnapshot(snapshot);
	}
	ExecDropSingleTupleTableSlot(row);
	ExecDropSingleTupleTableSlot(old);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return moved;
}

/* The same, past events that are held back instead of being applied. */
bool
evs_checkpoint_pass(int projection, EvsPosition from, EvsPosition to, int events)
{
	Datum		values[] = {Int32GetDatum(projection), Int64GetDatum(from), Int64GetDatum(to), Int32GetDatum(events)};

	return run(PLAN_PASS, values, SPI_OK_UPDATE);
}

/* The same, past an event that was tried in vain. */
bool
evs_checkpoint_give_up(int projection, EvsPosition from, EvsPosition event, bool park)
{
	Datum		values[] = {Int32GetDatum(projection), Int64GetDatum(from), Int64GetDatum(event),
	Int32GetDatum(park ? 1 : 0)};

	return run(PLAN_GIVE_UP, values, SPI_OK_UPDATE);
}

/* Stop there, until somebody has it tried again. */
void
evs_checkpoint_stop(int projection, const char *message)
{
	Datum		values[] = {Int32GetDatum(projection), CStringGetTextDatum(message)};

	(void) run(PLAN_STOP, values, SPI_OK_UPDATE);
}

/* Read a checkpoint; false if the projection is gone, or inline, or another has locked it. */
static bool
read_reach(CheckpointPlan which, int projection, EvsReach *reach)
{
	Datum		values[] = {Int32GetDatum(projection)};

	if (!run(which, values, SPI_OK_SELECT))
		return false;
	reach->checkpoint = reach->position = DatumGetInt64(column(1));
	reach->parked = DatumGetInt32(column(2));
	reach->failing = DatumGetBool(column(3));
	return reach->checkpoint != EVS_INLINE_CHECKPOINT;
}

/* Where a checkpoint stands; false if the projection is gone, or inline. */
bool
evs_checkpoint_read(int projection, EvsReach *reach)
{
	return read_reach(PLAN_READ, projection, reach);
}

/*
 * Where it stands now, and keep it locked to the end of the transaction; false, too, if it
 * is held, or if somebody else has locked it: nobody waits here.
 */
bool
evs_checkpoint_lock(int projection, EvsReach *reach)
{
	return read_reach(PLAN_LOCK, projection, reach);
}

/*
 * Lock the checkpoints of a projection, of all its shards and of its rebuild, to
 * the end of the transaction, in the order in which everybody locks several.
 */
void
evs_checkpoint_lock_all(int whole)
{
	Datum		values[] = {Int32GetDatum(whole)};

	(void) run(PLAN_LOCK_ALL, values, SPI_OK_SELECT);
}

/*
 * Record that the batch from there on has failed, by the fault of an event or
 * of none (0). Returns how often so in a row; 0 if the checkpoint is not there
 * any more. *given_up is how many events were since a batch was applied.
 */
int
evs_checkpoint_fail(int projection, EvsPosition from, EvsPosition event, const char *message, int *given_up)
{
	Datum		values[] = {Int32GetDatum(projection), Int64GetDatum(from), Int64GetDatum(event),
	CStringGetTextDatum(message)};

	if (!run(PLAN_FAIL, values, SPI_OK_UPDATE_RETURNING))
		return 0;
	*given_up = DatumGetInt32(column(2));
	return DatumGetInt32(column(1));
}
