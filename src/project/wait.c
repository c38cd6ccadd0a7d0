/*
 * wait.c
 *		Waiting until projections have applied an event.
 *
 * The answer comes while the caller's statement still has its old snapshot,
 * so the read table is read in the next statement; a transaction with one
 * snapshot for all its statements could never see it, and is refused.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/database.h"
#include "base/wakeup.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "project/await.h"
#include "project/batch.h"
#include "project/kept.h"
#include "project/projection.h"
#include "storage/latch.h"
#include "store/position.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* How often who waits for an event of an open transaction looks. */
#define LOOK_AGAIN_MS 10

PG_FUNCTION_INFO_V1(evs_wait_for);
PG_FUNCTION_INFO_V1(evs_wait_for_several);
PG_FUNCTION_INFO_V1(evs_wait_for_all);

/* Refuse to wait for what cannot come. */
static void
check_can_come(EvsPosition position)
{
	EvsPosition mine = evs_position_mine();

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("evstore.wait_for() needs isolation level read committed"),
				 errdetail("The snapshot of this transaction would not see what it waited for.")));
	if (mine != 0 && mine <= position)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for events of the current transaction"),
				 errdetail("This transaction has appended at position %lld or above, and projections apply what is committed.",
						   (long long) mine),
				 errhint("Commit first, then wait.")));
	if (evs_projection_changed_here())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait in a transaction that has declared or changed projections"),
				 errhint("Commit first, then wait.")));
}

/* Is there an event at a position, in any of some tables? */
static bool
is_there(const List *event_tables, EvsPosition position)
{
	ListCell   *cell;

	foreach(cell, event_tables)
		if (evs_batch_next_event(lfirst_oid(cell), position - 1, NULL) == position)
			return true;
	return false;
}

/*
 * Wait until an inline projection over some tables has applied a position. What is
 * committed it has. Only an event of somebody's open transaction is waited for;
 * nothing rings when that ends, so we look again.
 */
static EvsWaitResult
wait_inline(const List *event_tables, EvsPosition position, TimestampTz deadline)
{
	if (position <= evs_position_safe() || is_there(event_tables, position))
		return EVS_WAIT_APPLIED;
	if (GetCurrentTimestamp() >= deadline)
		return EVS_WAIT_TIMED_OUT;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_AGAIN_MS,
					 EVS_WAIT_EVENT("EvstoreWaitFor"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return EVS_WAIT_GONE;
}

/* The id of a projection that exists and, if it is inline, the event tables that it follows. */
static int
find_projection(const char *name, List **inline_tables)
{
	int			projection = evs_projection_find_mode(name, inline_tables);

	if (projection == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("projection \"%s\" does not exist", name)));
	return projection;
}

/* Wait for a projection in the mode that it has now. */
static EvsWaitResult
wait_in_mode(int projection, List *inline_tables, EvsPosition position, TimestampTz deadline)
{
	EvsWaitResult result = inline_tables != NIL ? wait_inline(inline_tables, position, deadline) :
		evs_await(projection, position, deadline);

	list_free(inline_tables);
	return result;
}

/*
 * What is waited for, and how long: the arguments "position" and "timeout", the
 * first of which is number "first". Refuses what cannot come.
 */
static EvsPosition
begin_waiting(FunctionCallInfo fcinfo, int first, TimestampTz *deadline)
{
	EvsPosition position;

	evs_position_require_primary();
	if ((first > 0 && PG_ARGISNULL(0)) || PG_ARGISNULL(first + 1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg(first > 0 ? "the projection and the time-out must not be null" : "the time-out must not be null")));
	position = PG_ARGISNULL(first) ? evs_position_last() : PG_GETARG_INT64(first);
	*deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														TimestampTzGetDatum(GetCurrentTimestamp()),
														PG_GETARG_DATUM(first + 1)));
	check_can_come(position);

	/* After a restore, nobody has told the workers that there is something to do. */
	evs_wakeup_ring_worker(evs_database_slot());
	return position;
}

/* Wait for one projection, which must exist, at first and all the time. */
static bool
wait_for_one(const char *name, EvsPosition position, TimestampTz deadline)
{
	EvsWaitResult result;

	/* One that is gone was dropped, which is an error now, or paused, and may be resumed in time, or switched. */
	do
	{
		List	   *inline_tables;
		int			projection = find_projection(name, &inline_tables);

		result = wait_in_mode(projection, inline_tables, position, deadline);
	} while (result == EVS_WAIT_GONE);
	return result == EVS_WAIT_APPLIED;
}

/* evstore.wait_for(projection, position, timeout) */
Datum
evs_wait_for(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	EvsPosition position = begin_waiting(fcinfo, 1, &deadline);

	PG_RETURN_BOOL(wait_for_one(text_to_cstring(PG_GETARG_TEXT_PP(0)), position, deadline));
}

/* evstore.wait_for(projections, position, timeout) */
Datum
evs_wait_for_several(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	EvsPosition position = begin_waiting(fcinfo, 1, &deadline);
	Datum	   *names;
	bool	   *nulls;
	int			count;
	List	   *inline_tables;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the name of a projection must not be null")));
		/* A wrong name is an error however long the others take. */
		(void) find_projection(TextDatumGetCString(names[i]), &inline_tables);
	}
	for (int i = 0; i < count; i++)
		if (!wait_for_one(TextDatumGetCString(names[i]), position, deadline))
			PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(true);
}

/* evstore.wait_for_all(position, timeout) */
Datum
evs_wait_for_all(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	EvsPosition position = begin_waiting(fcinfo, 0, &deadline);
	List	   *all = evs_kept_list();
	ListCell   *cell;

	foreach(cell, all)
	{
		const EvsKept *kept = lfirst(cell);
		EvsWaitResult result = EVS_WAIT_GONE;
		List	   *inline_tables;

		/* Of one that is paused, only its checkpoint is known. */
		if (!kept->is_inline && kept->checkpoint >= position)
			continue;
		/* One that is dropped meanwhile is nobody's to wait for any more. */
		while (result == EVS_WAIT_GONE && evs_projection_find_mode(kept->name, &inline_tables) == kept->projection)
			result = wait_in_mode(kept->projection, inline_tables, position, deadline);
		if (result == EVS_WAIT_TIMED_OUT)
			PG_RETURN_BOOL(false);
	}
	PG_RETURN_BOOL(true);
}
