/*
 * checkpoint.c
 *		The checkpoint of a projection: up to where it has applied.
 *
 * Its row in evstore._checkpoint is moved, and thereby locked, before a batch
 * is looked at, in the transaction that changes the read table: both or neither
 * survive, which is the whole of "exactly once". It is moved only from where
 * the batch begins, so the row itself, not somebody's memory of it, decides.
 * Call inside SPI.
 */
#include "evstore.h"

#include "base/owner.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "project/checkpoint.h"
#include "utils/builtins.h"

/* Statements on the checkpoint, prepared once a process. */
typedef enum CheckpointPlan
{
	PLAN_MOVE,
	PLAN_READ,
	PLAN_FAIL,
	PLAN_COUNT
} CheckpointPlan;

static const struct
{
	const char *sql;
	int			nargs;
	Oid			types[3];
}			statements[PLAN_COUNT] = {
	{"UPDATE evstore._checkpoint SET \"position\" = $3, applied_at = pg_catalog.clock_timestamp(),"
		" failures = 0, failed_at = NULL, last_error = NULL"
		" WHERE projection = $1 AND \"position\" = $2 AND NOT paused",
	3, {INT4OID, INT8OID, INT8OID}},
	{"SELECT \"position\" FROM evstore._checkpoint WHERE projection = $1",
	1, {INT4OID}},
	{"UPDATE evstore._checkpoint SET failures = failures + 1,"
		" failed_at = pg_catalog.clock_timestamp(), last_error = $2"
		" WHERE projection = $1 RETURNING failures",
	2, {INT4OID, TEXTOID}},
};

/* Run one of the statements as the extension's owner. */
static void
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
}

/* Move a checkpoint, and keep it locked to the end of the transaction; false if it is not at "from", or paused. */
bool
evs_checkpoint_move(int projection, EvsPosition from, EvsPosition to)
{
	Datum		values[] = {Int32GetDatum(projection), Int64GetDatum(from), Int64GetDatum(to)};

	run(PLAN_MOVE, values, SPI_OK_UPDATE);
	return SPI_processed > 0;
}

/* Where a checkpoint stands, or EVS_NO_CHECKPOINT if the projection is gone. */
EvsPosition
evs_checkpoint_read(int projection)
{
	Datum		values[] = {Int32GetDatum(projection)};
	bool		isnull;

	run(PLAN_READ, values, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return EVS_NO_CHECKPOINT;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Record a failure, and return how many there have been in a row. */
int
evs_checkpoint_fail(int projection, const char *message)
{
	Datum		values[] = {Int32GetDatum(projection), CStringGetTextDatum(message)};
	bool		isnull;

	run(PLAN_FAIL, values, SPI_OK_UPDATE_RETURNING);
	if (SPI_processed == 0)
		return 0;
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}
