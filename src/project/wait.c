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
#include "project/progress.h"
#include "project/projection.h"
#include "store/position.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

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

/* The id of a projection that exists. */
static int
find_projection(const char *name)
{
	int			projection = evs_projection_find(name, NULL);

	if (projection == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("projection \"%s\" does not exist", name)));
	return projection;
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

	/* One that is gone was dropped, which is an error now, or paused, and may be resumed in time. */
	do
		result = evs_progress_wait(find_projection(name), position, deadline);
	while (result == EVS_WAIT_GONE);
	PG_RETURN_BOOL(result == EVS_WAIT_APPLIED);
}
