/*
 * fresh.c
 *		Reading one's own writes: evstore.read_your_writes.
 *
 * With the setting on, a SELECT on a read table first waits until the table's
 * projection has applied the last append that this session has committed, and
 * then runs with a snapshot that was taken after that. So it sees those events,
 * whether the table is named by the statement itself, in a view, or in a
 * function that runs a statement of its own.
 *
 * Where it waits. When the executor starts: the one point that every planned
 * statement passes each time it is run, whatever the protocol, also with a plan
 * that was kept. By then the statement has a snapshot, which is too old, as the
 * worker commits while we wait, or did so a moment before we looked. So the
 * query is given another. At read committed any later snapshot is as right as
 * the first: nothing has been read with that one but to plan the statement.
 *
 * How the snapshot is exchanged. Whoever made the QueryDesc registered its
 * snapshot there, and in most cases has the same one on top of the stack of
 * active snapshots, of which a query's parallel workers and STABLE functions get
 * theirs. The registered one is exchanged. The stack is not ours: its top may
 * belong to a statement further out, or to a level of subtransactions that ends
 * before it. So ours goes on top while the executor starts and while it runs,
 * and is taken off again each time. A portal puts the registered one there by
 * itself, when it runs; SPI and SQL functions do not.
 *
 * Where it does not apply:
 *	- Repeatable read and serializable: all statements have one snapshot. Wait
 *	  with evstore.wait_for() before the transaction begins.
 *	- The session's own events of the open transaction: projections apply what
 *	  is committed. (Older ones are waited for.)
 *	- EXPLAIN without ANALYZE, which reads nothing.
 *	- INSERT, UPDATE, DELETE and MERGE that read a read table.
 *	- Statements of functions that a parallel query calls: no snapshot can be
 *	  taken there. The parallel query itself is as fresh as any.
 *	- A batch that is being applied: it would wait for itself, or in a circle.
 *	- Checks of foreign keys, which bring snapshots of their own.
 * A STABLE function may see more than the statement that calls it: freshness
 * goes before the caller's snapshot.
 *
 * What is known of read tables is kept by each backend, and read again when the
 * generation of the definitions has moved on (generation.c).
 */
#include "evstore.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/errors.h"
#include "base/settings.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "project/await.h"
#include "project/bounds.h"
#include "project/fresh.h"
#include "project/generation.h"
#include "project/kept.h"
#include "project/projection.h"
#include "store/position.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* A projection whose read table this is. */
typedef struct ReadTableOf
{
	int			projection;
	char	   *name;
	EvsPosition reached;		/* it is known to have applied so far */
} ReadTableOf;

/* A read table, of one projection or of several. */
typedef struct ReadTable
{
	Oid			relid;			/* the key */
	List	   *kept_by;		/* of ReadTableOf */
} ReadTable;

static MemoryContext known_context = NULL;
static HTAB *known = NULL;		/* of ReadTable; NULL if it is to be read */
static uint32 known_generation;
static bool reading = false;	/* to guard against ourselves */

/* Forget what is known. */
static void
forget(void)
{
	known = NULL;
	if (known_context)
		MemoryContextReset(known_context);
}

/* Enter a projection under its read table. */
static void
enter(HTAB *tables, const EvsKept *kept)
{
	ReadTableOf *of = palloc0_object(ReadTableOf);
	bool		found;
	ReadTable  *table = hash_search(tables, &kept->read_table, HASH_ENTER, &found);

	of->projection = kept->projection;
	of->name = pstrdup(kept->name);
	of->reached = kept->checkpoint;
	table->kept_by = lappend(found ? table->kept_by : NIL, of);
}

/* Read which tables are read tables of projections that workers keep. */
static void
read_tables(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(ReadTable)};
	List	   *list;
	ListCell   *cell;
	MemoryContext caller;
	HTAB	   *tables;

	/* The generation first: what changes while we read makes us read again. */
	known_generation = evs_generation(evs_database_slot());
	reading = true;
	PG_TRY();
	{
		list = evs_kept_list();
	}
	PG_FINALLY();
	{
		reading = false;
	}
	PG_END_TRY();

	if (known_context == NULL)
		known_context = AllocSetContextCreate(TopMemoryContext, "evstore read tables", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(known_context);
	control.hcxt = known_context;
	tables = hash_create("evstore read tables", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	foreach(cell, list)
	{
		const EvsKept *kept = lfirst(cell);

		/* What is inline is there with the append. */
		if (OidIsValid(kept->read_table) && !kept->is_inline)
			enter(tables, kept);
	}
	MemoryContextSwitchTo(caller);
	known = tables;
}

/* Is the definition that we know of still the present one? */
static bool
is_current(void)
{
	return known != NULL && known_generation == evs_generation(evs_database_slot());
}

/* It did not come so far in time. */
static void
fail(const ReadTableOf *of, EvsPosition position)
{
	ereport(ERROR,
			(errcode(ERRCODE_EVS_NOT_FRESH),
			 errmsg("could not read your writes within %d ms", evs_read_your_writes_timeout),
			 errdetail("Projection \"%s\" has not applied position %lld yet, where the last append of this session ends.",
					   of->name, (long long) position),
			 errhint("The views evstore.projections and evstore.appenders tell what holds it up. With evstore.read_your_writes off, the table is read as it is.")));
}

/*
 * Wait until a projection has applied a position. False if definitions have
 * changed meanwhile, so that there may be nothing to wait for.
 */
static bool
wait_for(ReadTableOf *of, EvsPosition position, TimestampTz *deadline)
{
	if (of->reached >= position)
		return true;
	if (*deadline == 0)
		*deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), evs_read_your_writes_timeout);
	for (;;)
	{
		switch (evs_await(of->projection, position, *deadline))
		{
			case EVS_WAIT_APPLIED:
				of->reached = position;
				return true;
			case EVS_WAIT_TIMED_OUT:
				fail(of, position);
				break;
			case EVS_WAIT_GONE:
				/* Paused: it may be resumed in time. */
				if (!is_current())
					return false;
				break;
		}
	}
}

/*
 * Wait for the projections of every read table that a statement reads, be it
 * in a view; false as above, *any if there is one.
 */
static bool
wait_for_tables(List *range_table, EvsPosition position, TimestampTz *deadline, bool *any)
{
	ListCell   *cell;
	ListCell   *inner;

	*any = false;
	foreach(cell, range_table)
	{
		const RangeTblEntry *entry = lfirst(cell);
		ReadTable  *table = entry->rtekind == RTE_RELATION ?
			hash_search(known, &entry->relid, HASH_FIND, NULL) : NULL;

		if (table == NULL)
			continue;
		*any = true;
		foreach(inner, table->kept_by)
			if (!wait_for(lfirst(inner), position, deadline))
				return false;
	}
	return true;
}

/* Does the setting concern this execution? */
static bool
concerns(const QueryDesc *query, int eflags)
{
	return query->operation == CMD_SELECT && query->snapshot != InvalidSnapshot &&
		!(eflags & EXEC_FLAG_EXPLAIN_ONLY) && query->plannedstmt->rtable != NIL &&
		!reading && !IsInParallelMode() && !IsolationUsesXactSnapshot() &&
		!InNoForceRLSOperation() && evs_bounds() == NULL && !evs_projection_changed_here();
}

/* A statement is about to start: let it wait, and give it a snapshot that is new enough. */
void
evs_fresh_prepare(QueryDesc *query, int eflags)
{
	EvsPosition position;
	TimestampTz deadline = 0;
	bool		any;
	Snapshot	before;

	if (!evs_read_your_writes || !concerns(query, eflags))
		return;
	position = evs_position_session_last();
	if (position == 0)
		return;

	do
	{
		if (!is_current())
		{
			forget();
			read_tables();
		}
	} while (!wait_for_tables(query->plannedstmt->rtable, position, &deadline, &any));
	if (!any)
		return;

	before = query->snapshot;
	query->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	UnregisterSnapshot(before);
}

/* Make the snapshot that a statement was given the active one, unless it is; true if it is to be popped afterwards. */
bool
evs_fresh_enter(const QueryDesc *query)
{
	if (!evs_read_your_writes || query->operation != CMD_SELECT || query->snapshot == InvalidSnapshot ||
		IsInParallelMode() || (ActiveSnapshotSet() && GetActiveSnapshot() == query->snapshot))
		return false;
	PushActiveSnapshot(query->snapshot);
	return true;
}
