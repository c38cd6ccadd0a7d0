/*
 * mode.c
 *		Who applies a projection: workers (async), or whoever appends (inline).
 *
 * A switch is one transaction. It keeps writers out of all event tables of the
 * projection by a SHARE ROW EXCLUSIVE lock on each (writers.c). Once it has all of
 * them, every other transaction that has added an event to any of these tables is
 * over, prepared ones included; and none adds another until the switch has
 * committed, and its change of definitions is there to be seen. So with P, the
 * last position handed out by then, whatever the tables will ever have at or below
 * P is there, and everything above P comes later. Positions are one sequence over
 * all tables, so it is the same P for each:
 *
 *	async to inline		what stands between the checkpoint and P is applied by
 *						the switch, all above P by those who append it
 *	inline to async		all up to P has been applied by those who appended it,
 *						and the checkpoint is set to P for the workers
 *
 * P is taken when the last of the tables is locked. Before that, somebody could
 * append to it who has found the first still in the old mode.
 *
 * P must not be the safe position. A transaction that appends to an event table
 * that the projection does not follow, and stays open, holds that one below events
 * of its tables which are committed: they would be missed going one way, applied
 * twice going the other. The switch's own events lie below P, and it sees them.
 * Events that it has itself restored may lie above, and make it refuse.
 *
 * Order of locks, for everybody:
 *
 *	1. the mode		EVS_LOCK_MODE, of this one projection. A worker has it from
 *					before its batch to its end, and does not wait for it.
 *					Whoever has parked events applied waits for it.
 *	2. event tables	in no order: who appends takes them as they come, and a switch
 *					that has some and waits for others gives way
 *	3. the read table
 *	4. the checkpoint's row, and rows of read tables
 *
 * A switch takes all four in this order. A worker has 1, and takes 2 from within
 * 3 or 4 where its handler appends; that waits for the switch of another
 * projection, which wants nothing that belongs to this one but event tables that
 * its handler has appended to, and gives way there. Who appends has 2
 * before 3 and 4, and nothing of 1. So none of these wait for each other in a
 * circle; statements and handlers that lock what they please can, and then the
 * server ends one of them.
 */
#include "evstore.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/advisory.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/dependency.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/await.h"
#include "project/batch.h"
#include "project/bounds.h"
#include "project/checkpoint.h"
#include "project/inline.h"
#include "project/mode.h"
#include "project/progress.h"
#include "project/projection.h"
#include "project/rebuild.h"
#include "project/view.h"
#include "project/writers.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "store/position.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* With so many positions to go, writers may well be kept waiting. */
#define NEAR_POSITIONS	10000

/* Workers that do nothing for so many seconds are not waited for any longer. */
#define MOST_IDLE_SECONDS 5

/* Is this mode inline? Refuses what is no mode. */
bool
evs_mode_parse(const char *mode)
{
	if (mode && strcmp(mode, "inline") == 0)
		return true;
	if (mode == NULL || strcmp(mode, "async") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("projection mode \"%s\" is not supported", mode ? mode : "null"),
				 errhint("The mode is \"async\" or \"inline\".")));
	return false;
}

/* Keep a projection from being applied by workers, and its mode as it is, until the transaction ends. */
bool
evs_mode_lock(int projection, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, projection, EVS_LOCK_MODE);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* What was to be switched is not there any more. */
EVS_NORETURN static void
fail_dropped(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the projection was dropped meanwhile")));
}

/* Load a projection that is to be switched, and is kept from others who would; NULL if it has the mode already. */
static EvsProjection *
load_to_switch(int id, bool is_inline)
{
	EvsProjection *projection;

	if (evs_bounds() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change the mode of a projection while one is being applied")));
	(void) evs_mode_lock(id, true);
	projection = evs_projection_load(id);
	if (projection == NULL)
		fail_dropped();
	return projection->is_inline == is_inline ? NULL : projection;
}

/* The owner's code will run in every transaction that appends to a table, and can make it fail: refuse who must not do that. */
static void
check_may_interfere(const EvsProjection *projection, Oid event_table)
{
	if (pg_class_aclcheck(event_table, projection->owner, ACL_TRIGGER) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to make projection \"%s\" inline", projection->name),
				 errdetail("Its owner needs the TRIGGER privilege on event table \"%s\".", get_rel_name(event_table))));
}

/* Refuse what cannot be applied by those who append. */
void
evs_mode_check_inline(const EvsProjection *projection)
{
	ListCell   *cell;

	if (projection->ordered)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("projection \"%s\" cannot be inline", projection->name),
				 errdetail("It depends on the order of all events, and concurrent appends commit in any."),
				 errhint("Leave it to the workers, with mode \"async\".")));
	if (projection->shards > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("projection \"%s\" cannot be inline", projection->name),
				 errdetail("It has %d shards, and whoever appends applies all of an event.", projection->shards),
				 errhint("Give it one with evstore.set_projection(name, shards => 1).")));
	foreach(cell, projection->event_tables)
		check_may_interfere(projection, lfirst_oid(cell));
}

/* The last position handed out, with writers kept out of the event tables. */
EvsPosition
evs_mode_last_position(const EvsProjection *projection)
{
	EvsPosition last = evs_position_last();

	if (evs_batch_next_of_any(projection, last) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change the mode of projection \"%s\" in a transaction that has restored events",
						projection->name),
				 errhint("Commit first.")));
	return last;
}

/* Run one statement on an event table as its owner; %s stands for the table. */
static void
run_on_table(Oid event_table, const char *sql)
{
	Relation	rel = table_open(event_table, NoLock);
	Oid			owner = rel->rd_rel->relowner;
	const char *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  RelationGetRelationName(rel));
	EvsOwnerFrame frame;

	/* The statement wants nobody else to use it, us included. */
	table_close(rel, NoLock);
	evs_owner_begin(&frame, owner, NULL);
	if (SPI_execute(psprintf(sql, name), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\" on %s", sql, name);
	evs_owner_end(&frame);
}

/*
 * Have those who append to a table call us. Whoever owns the table makes the
 * trigger, since nobody else may be rid of it.
 */
static void
create_trigger(Oid event_table)
{
	Relation	rel = table_open(event_table, NoLock);
	bool		there = evs_relation_is_followed(rel);

	table_close(rel, NoLock);
	if (!there)
		run_on_table(event_table, "CREATE TRIGGER " EVS_TRIGGER_INLINE " AFTER INSERT ON %s"
					 " REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION evstore._inline()");
	run_on_table(event_table, "ALTER TABLE %s ENABLE ALWAYS TRIGGER " EVS_TRIGGER_INLINE);
}

/* Have those who append to some tables call us, who are kept out now. Call inside SPI. */
void
evs_mode_follow(const List *event_tables)
{
	ListCell   *cell;

	foreach(cell, event_tables)
		create_trigger(lfirst_oid(cell));
}

/* The oid of a table's trigger of ours, InvalidOid if it has none. */
static Oid
find_trigger(Relation rel)
{
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
		if (rel->trigdesc->triggers[i].tgfoid == evs_catalog()->inline_function)
			return rel->trigdesc->triggers[i].tgoid;
	return InvalidOid;
}

/* Remove the trigger from a table, if no inline projection follows it any more. Call inside SPI. */
static void
tidy(Oid event_table)
{
	Relation	rel;
	ObjectAddress address = {.classId = TriggerRelationId};

	if (evs_projection_list_inline(event_table) != NIL ||
		!ConditionalLockRelationOid(event_table, AccessExclusiveLock))
		return;
	rel = try_table_open(event_table, NoLock);
	if (rel == NULL)
		return;
	if (rel->rd_refcnt == 1 && !AfterTriggerPendingOnRel(event_table))
		address.objectId = find_trigger(rel);
	table_close(rel, NoLock);
	if (OidIsValid(address.objectId))
		performDeletion(&address, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
}

/* Tables to be looked at when the transaction is about to commit, in its memory. */
static List *untidy = NIL;

/*
 * Remove the trigger from tables that no inline projection follows any more. It
 * does no harm there, while removing it keeps out whoever reads the table. So
 * that is put off to the end of the transaction; where it would mean to wait for
 * them, the trigger stays until another time.
 */
void
evs_mode_tidy(const List *event_tables)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);

	untidy = list_concat_unique_oid(untidy, event_tables);
	MemoryContextSwitchTo(caller);
}

/* The transaction is about to commit. */
static void
mode_before_commit(void)
{
	ListCell   *cell;

	/* It may have dropped the extension as well. */
	if (untidy == NIL || evs_catalog_find() == NULL)
		return;
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, untidy)
		tidy(lfirst_oid(cell));
	PopActiveSnapshot();
	SPI_finish();
}

/* The transaction is over, and its memory gone. */
static void
mode_finished(bool committed)
{
	untidy = NIL;
}

const EvsXactSubscriber evs_mode_xact = {
	.before_commit = mode_before_commit,
	.finished = mode_finished,
};

/* Let those who append apply a projection from now on. Call inside SPI. */
void
evs_mode_enter_inline(int id)
{
	EvsProjection *projection = load_to_switch(id, true);
	EvsReach	reach;
	EvsPosition last;

	if (projection == NULL)
		return;
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("making a projection inline needs isolation level read committed"),
				 errdetail("The snapshot of this transaction may not see all events that there are.")));
	evs_mode_check_inline(projection);
	if (evs_rebuild_find(id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("projection \"%s\" is being rebuilt", projection->name),
				 errhint("Wait for it, or run evstore.cancel_rebuild().")));
	evs_writers_keep_out(projection->event_tables);
	evs_mode_follow(projection->event_tables);
	/* As a batch does that is to be applied: the read table, then the view, then the checkpoint. */
	if (projection->kind == EVS_QUERY)
		LockRelationOid(projection->state_table, RowExclusiveLock);
	evs_view_lock(projection, AccessShareLock);
	last = evs_mode_last_position(projection);
	if (!evs_checkpoint_read(id, &reach))
		fail_dropped();
	if (reach.parked > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("projection \"%s\" holds streams back", projection->name),
				 errhint("Apply their events with evstore.replay_parked() first.")));
	if (!evs_projection_set_mode(projection, true, reach.checkpoint, EVS_INLINE_CHECKPOINT))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("projection \"%s\" is paused or stopped", projection->name),
				 errhint("Let it go on with evstore.resume_projection() or evstore.retry_projection() first.")));
	CommandCounterIncrement();
	if (reach.checkpoint < last)
		evs_inline_apply_past(id, reach.checkpoint, last);
}

/* Let workers apply a projection from now on. Call inside SPI. */
void
evs_mode_leave_inline(int id)
{
	EvsProjection *projection = load_to_switch(id, false);

	if (projection == NULL)
		return;
	evs_writers_keep_out(projection->event_tables);
	if (!evs_projection_set_mode(projection, false, EVS_INLINE_CHECKPOINT, evs_mode_last_position(projection)))
		fail_dropped();
	CommandCounterIncrement();
	evs_mode_tidy(projection->event_tables);
}

/*
 * Wait until a projection that workers apply has come near to what there is, so
 * that writers are kept out for a moment only. Workers that do not come on, or
 * that there are none of, are not waited for. Call inside SPI.
 */
void
evs_mode_wait_until_near(int id)
{
	EvsPosition before = -1;
	int			idle = 0;

	while (idle < MOST_IDLE_SECONDS)
	{
		EvsPosition safe = evs_position_safe();
		EvsReach	reach;

		if (!evs_checkpoint_read(id, &reach) || safe - reach.checkpoint <= NEAR_POSITIONS)
			break;
		idle = reach.checkpoint > before ? 0 : idle + 1;
		before = reach.checkpoint;
		if (evs_await(id, safe, GetCurrentTimestamp() + USECS_PER_SEC) == EVS_WAIT_APPLIED)
			break;
	}
}
