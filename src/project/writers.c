/*
 * writers.c
 *		Keeping writers out of several event tables.
 *
 * Whoever appends to several event tables takes them as they come, and has each
 * until its transaction ends. There is no order in which the same tables could
 * be locked against such writers: one that has the second and wants the first
 * waits for us, and we for it. The server would end one of the two, and it would
 * rather be the writer, which has waited for longer.
 *
 * So it is we who give way. Only one of the tables is waited for as long as it
 * takes, while none of the others is locked: then all is as with a single table.
 * Each of the others is waited for
 *
 *	- not at all, if that would be in a circle: our deadlock_timeout is next to
 *	  nothing meanwhile, so we find a circle that is there before anybody else;
 *	- for a moment, if not, longer each time, and at most for half of the server's
 *	  deadlock_timeout. A writer that closes a circle only then has not waited for
 *	  long enough to look for one when we let it go.
 *
 * If it is not to be had, all are let go, by rolling back a subtransaction, and
 * that one is the first to be waited for. So a transaction that stays open on one
 * table keeps writers out of that one only, and the next attempt begins when it
 * has ended. Where many writers take the tables in both orders all the time,
 * every attempt may meet some of them. Then it is better to fail than to get in
 * their way for ever.
 */
#include "evstore.h"

#include "access/xact.h"
#include "project/writers.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/* Moments to be waited for a further table, as parts of deadlock_timeout. */
#define FIRST_MOMENT	(1 / 50.0)
#define LAST_MOMENT		(1 / 2.0)

/* So long all attempts together may have kept writers out of some tables for want of another. */
#define MOST_IN_VAIN_MS	10000

/* What has been tried so far. */
typedef struct Effort
{
	int			moment_ms;
	long		in_vain_ms;
} Effort;

/* How one attempt goes. An error ends it, so all of it is volatile. */
typedef volatile struct Attempt
{
	Oid			wanted;			/* the table that is waited for */
	bool		has_first;
	TimestampTz since;			/* when it got the first */
} Attempt;

/* From here to the end of the subtransaction, give way soon. */
static void
become_impatient(int moment_ms)
{
	int			timeout = LockTimeout > 0 ? Min(moment_ms, LockTimeout) : moment_ms;

	(void) set_config_option("lock_timeout", psprintf("%d", timeout), PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("deadlock_timeout", "1", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Lock the first table, and then the others, or fail. */
static void
lock_all(const List *tables, Oid first, int moment_ms, Attempt *attempt)
{
	ListCell   *cell;

	attempt->wanted = first;
	LockRelationOid(first, ShareRowExclusiveLock);
	attempt->has_first = true;
	attempt->since = GetCurrentTimestamp();
	become_impatient(moment_ms);
	foreach(cell, tables)
	{
		attempt->wanted = lfirst_oid(cell);
		if (attempt->wanted != first)
			LockRelationOid(attempt->wanted, ShareRowExclusiveLock);
	}
}

/* Lock all of some tables, or none. Returns InvalidOid, or else the one that was not to be had. */
static Oid
try_all(const List *tables, Oid first, Effort *effort)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Attempt		attempt = {0};
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		lock_all(tables, first, effort->moment_ms, &attempt);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error == NULL)
		return InvalidOid;
	if (!attempt.has_first ||
		(error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED))
		ReThrowError(error);
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		effort->moment_ms = Min(2 * effort->moment_ms, Max(DeadlockTimeout * LAST_MOMENT, 1));
	effort->in_vain_ms += TimestampDifferenceMilliseconds(attempt.since, GetCurrentTimestamp());
	FreeErrorData(error);
	return attempt.wanted;
}

/* It cannot be done without getting in the way of those who append. */
EVS_NORETURN static void
fail(Oid event_table)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not keep writers out of several event tables at the same time"),
			 errdetail("Event table \"%s\" is in use by transactions that last, or that append to another of them as well.",
					   get_rel_name(event_table)),
			 errhint("Try again later. Or run LOCK TABLE ... IN SHARE ROW EXCLUSIVE MODE for all of them before, in the same transaction; then those who append may be ended by a deadlock.")));
}

/*
 * Keep writers out of some event tables until the transaction ends. From then on
 * every event that any of them has is committed, or this transaction's. A
 * lock_timeout holds for all of it together.
 */
void
evs_writers_keep_out(const List *event_tables)
{
	TimestampTz begun = GetCurrentTimestamp();
	Effort		effort = {.moment_ms = Max(DeadlockTimeout * FIRST_MOMENT, 1)};
	List	   *tables = list_copy(event_tables);
	Oid			first;

	/* In the same order by everybody, so that switches do not meet halfway. */
	list_sort(tables, list_oid_cmp);
	first = linitial_oid(tables);
	if (list_length(tables) == 1)
	{
		LockRelationOid(first, ShareRowExclusiveLock);
		return;
	}
	while (OidIsValid(first = try_all(tables, first, &effort)))
		if (effort.in_vain_ms > MOST_IN_VAIN_MS ||
			(LockTimeout > 0 && TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), LockTimeout)))
			fail(first);
}
