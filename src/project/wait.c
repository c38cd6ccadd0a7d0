/*
 * wait.c
 *		Waiting until a projection has applied an event.
 *
 * The answer comes while the caller's statement still has its old snapshot,
 * so the read table is read in the next statement; a transaction with one
 * snapshot for all its statements could never see it, and is refused.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/database.h"
#include "base/wakeup.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "project/batch.h"
#include "project/progress.h"
#include "project/projection.h"
#include "storage/latch.h"
#include "store/position.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* How often who waits for an event of an open transaction looks. */
#define LOOK_AGAIN_MS 10

PG_FUNCTION_INFO_V1(evs_wait_for);

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

/*
 * Wait until an inline projection over a table has applied a position. What is
 * committed it has. Only an event of somebody's open transaction is waited for;
 * nothing rings when that ends, so we look again.
 */
static EvsWaitResult
wait_inline(Oid event_table, EvsPosition position, TimestampTz deadline)
{
	if (position <= evs_position_safe() || evs_batch_next_event(event_table, position - 1, NULL) == position)
		return EVS_WAIT_APPLIED;
	if (GetCurrentTimestamp() >= deadline)
		return EVS_WAIT_TIMED_OUT;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_AGAIN_MS,
					 EVS_WAIT_EVENT("EvstoreWaitFor"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return EVS_WAIT_GONE;
}

/* Wait for a projection, which must exist, in the mode that it has now. */
static EvsWaitResult
wait_in_mode(const char *name, EvsPosition position, TimestampTz deadline)
{
	Oid			inline_table;
	int			projection = evs_projection_find_mode(name, &inline_table);

	if (projection == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("projection \"%s\" does not exist", name)));
	return OidIsValid(inline_table) ? wait_inline(inline_table, position, deadline) :
		evs_progress_wait(projection, position, deadline);
}

/* evstore.wait_for(projection, position, timeout) */
Datum
evs_wait_for(PG_FUNCTION_ARGS)
{
	EvsPosition position;
	TimestampTz deadline;
	char	   *name;
	EvsWaitResult result;

	evs_position_require_primary();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the projection and the time-out must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	position = PG_ARGISNULL(1) ? evs_position_last() : PG_GETARG_INT64(1);
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(GetCurrentTimestamp()),
													   PG_GETARG_DATUM(2)));
	check_can_come(position);

	/* After a restore, nobody has told the workers that there is something to do. */
	evs_wakeup_ring_worker(evs_database_slot());

	/* One that is gone was dropped, which is an error now, or paused, and may be resumed in time, or switched. */
	do
		result = wait_in_mode(name, position, deadline);
	while (result == EVS_WAIT_GONE);
	PG_RETURN_BOOL(result == EVS_WAIT_APPLIED);
}
