/*
 * shards.c
 *		The shards of a projection: how many there are, and what is theirs.
 *
 * The first shard is the projection itself. Each further one is a row of
 * evstore._projection that says of which it is a shard, with a checkpoint, a
 * slot in shared memory, a failure, skipped events and parked streams of its
 * own. All else in it is as in the first one's row. Whoever names a projection
 * means all of them.
 *
 * To change their number is one transaction. It keeps workers out by the modes
 * of all shards, and brings the shards to one position: that of the one that is
 * farthest, whose events have all been committed before. There it does not
 * matter any more to which shard an event below belongs. What the workers
 * believe of positions in between, without having written it down, was true of
 * the shards as they were: "division" is raised, and tells it from what is true
 * of the new ones (progress.c).
 *
 * A statement finds its shard's events under the name of the batch view: in a
 * schema of the extension's owner, evstore_shards_<id>, which comes first on its
 * search_path, stand views of the same names with one more condition. As with
 * shadow.c, that holds inside functions, too.
 *
 * Locks are taken in the order of mode.c, after the source's: modes, in the
 * order of ids; read table, view, checkpoints, in the order of ids.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/owner.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/batch.h"
#include "project/bounds.h"
#include "project/checkpoint.h"
#include "project/declare.h"
#include "project/mode.h"
#include "project/rebuild.h"
#include "project/shadow.h"
#include "project/shard.h"
#include "project/shards.h"
#include "project/source.h"
#include "project/statement.h"
#include "project/view.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* Run a statement on the extension's tables that takes the id of the first shard and, if it says so, a number. */
static void
run(const char *sql, int whole, int number, int expected)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(whole), Int32GetDatum(number)};

	evs_owner_run_extension(sql, strstr(sql, "$2") ? 2 : 1, types, values, NULL, expected);
}

/* The ids of the shards of a projection, the first of which is its own. Call inside SPI. */
List *
evs_shards_list(int whole)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *ids = NIL;
	bool		isnull;

	run("SELECT id FROM evstore._projection WHERE id = $1 OR shard_of = $1 ORDER BY shard", whole, 0, SPI_OK_SELECT);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		ids = lappend_int(ids, DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
	return ids;
}

/*
 * The shards of a projection, each an EvsShardSeen, as they were and as they
 * stood for the active snapshot: their number may have changed since. NIL if the
 * projection was not there. Call inside SPI.
 */
List *
evs_shards_seen(int whole)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(whole)};
	MemoryContext caller = CurrentMemoryContext;
	List	   *seen = NIL;
	EvsOwnerFrame frame;
	bool		isnull;

	evs_owner_begin_extension(&frame);
	if (SPI_execute_with_args("SELECT p.id, p.shard, p.shards, c.\"position\" FROM evstore._projection p"
							  " JOIN evstore._checkpoint c ON c.projection = p.id WHERE p.id IN " EVS_SHARDS_OF " ORDER BY p.shard",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the shards of projection %d", whole);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		EvsShardSeen *shard = palloc_object(EvsShardSeen);

		shard->id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		shard->shard = DatumGetInt32(SPI_getbinval(row, desc, 2, &isnull));
		shard->shards = DatumGetInt32(SPI_getbinval(row, desc, 3, &isnull));
		shard->position = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
		seen = lappend(seen, shard);
	}
	evs_owner_end(&frame);
	return seen;
}

/* Keep workers from all of some shards; false if that would mean to wait, and is not to. */
bool
evs_shards_lock_modes(const List *ids, bool wait)
{
	List	   *sorted = list_copy(ids);
	ListCell   *cell;

	list_sort(sorted, list_int_cmp);
	foreach(cell, sorted)
		if (!evs_mode_lock(lfirst_int(cell), wait))
			return false;
	return true;
}

/* Refuse a number of shards that makes no sense. */
void
evs_shards_check_number(int shards)
{
	if (shards < 1 || shards > EVS_MAX_SHARDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("shards must be between 1 and %d", EVS_MAX_SHARDS)));
}

/* Refuse to divide what cannot be divided, or not now. */
static void
check(const EvsProjection *whole)
{
	if (evs_bounds() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change the shards of a projection while one is being applied")));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("changing the shards of a projection needs isolation level read committed"),
				 errdetail("The snapshot of this transaction may not see all events that were applied.")));
	if (whole->is_inline)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an inline projection cannot have shards"),
				 errdetail("Whoever appends applies it."),
				 errhint("Have workers apply it with evstore.set_projection(name, mode => 'async').")));
	if (evs_rebuild_find(whole->id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("projection \"%s\" is being rebuilt", whole->name),
				 errhint("Wait for it, or run evstore.cancel_rebuild().")));
}

/* How the shards stand. */
typedef struct Standing
{
	int			count;
	EvsPosition positions[EVS_MAX_SHARDS];	/* in the order of ids */
	int			ids[EVS_MAX_SHARDS];
	EvsPosition farthest;
} Standing;

/* Lock the checkpoints of all shards, and see how they stand. */
static void
lock_checkpoints(const EvsProjection *whole, Standing *standing)
{
	standing->farthest = 0;
	run("SELECT projection, \"position\", parked FROM evstore._checkpoint WHERE projection IN " EVS_SHARDS_OF
		" ORDER BY projection FOR UPDATE", whole->id, 0, SPI_OK_SELECT);
	standing->count = Min(SPI_processed, EVS_MAX_SHARDS);
	for (int i = 0; i < standing->count; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		standing->ids[i] = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		standing->positions[i] = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		standing->farthest = Max(standing->farthest, standing->positions[i]);
		if (DatumGetInt32(SPI_getbinval(row, desc, 3, &isnull)) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("projection \"%s\" holds streams back", whole->name),
					 errhint("Apply their events with evstore.replay_parked() first.")));
	}
}

/* Apply to one shard what it lacks up to a position, batch by batch. */
static void
bring(int id, EvsPosition from, EvsPosition to)
{
	EvsApplied *applied = evs_apply_find(id);
	EvsPosition next;

	if (applied == NULL)
		elog(ERROR, "projection %d is gone", id);
	evs_apply_check(applied->definition);
	evs_shard_check_hashes(applied->definition);
	for (EvsPosition at = from; (next = evs_batch_next_of_any(applied->definition, at)) != 0 && next <= to;)
	{
		CHECK_FOR_INTERRUPTS();
		at = Min(to, next - 1 + applied->definition->batch_size);
		(void) evs_apply_events(applied, (EvsBounds) {next - 1, at});
	}
	if (!evs_checkpoint_move(id, from, to))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the shards of projection \"%s\" do not stand at one position, and it is paused or stopped",
						applied->definition->name),
				 errhint("Let it go on with evstore.resume_projection() or evstore.retry_projection() first.")));
}

/* Bring all shards to one position, and keep them and what they read where they are. The caller has their modes. */
static void
align(const EvsProjection *whole)
{
	Standing	standing;

	if (whole->kind == EVS_QUERY)
		LockRelationOid(whole->state_table, RowExclusiveLock);
	evs_view_lock(whole, AccessShareLock);
	lock_checkpoints(whole, &standing);
	for (int i = 0; i < standing.count; i++)
		if (standing.positions[i] < standing.farthest)
			bring(standing.ids[i], standing.positions[i], standing.farthest);
}

/*
 * What the keys of a query are computed of is about to change: let that be at one
 * position of all its shards, or an event could be no shard's, or that of two.
 * Nothing to do for what is no query, or has one shard. The caller has the modes
 * of all shards. Call inside SPI.
 */
void
evs_shards_align(int id)
{
	EvsProjection *whole = evs_projection_load(id);

	if (whole == NULL || whole->shard_of != 0 || whole->kind != EVS_QUERY || whole->shards == 1)
		return;
	align(whole);
	evs_projection_set_division(whole->id, whole->shards, whole->hashes);
	evs_projection_note_change();
}

/* A view's query with the condition of shards, read with the rights of a projection's owner. */
static char *
divided(const EvsProjection *whole, Oid view)
{
	EvsOwnerFrame frame;
	char	   *select;

	/* The view may be one of this command's. */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	evs_owner_begin(&frame, whole->owner, NULL);
	select = evs_shard_divide(TextDatumGetCString(DirectFunctionCall1(pg_get_viewdef, ObjectIdGetDatum(view))), whole->kind);
	evs_owner_end(&frame);
	PopActiveSnapshot();
	return select;
}

/* Give the view of a query or a handler the condition of shards, with the rights of the projection's owner. */
static void
divide_view(const EvsProjection *whole)
{
	char	   *select = divided(whole, evs_view_own(whole->id));
	EvsOwnerFrame frame;

	evs_view_drop(whole);
	GetUserIdAndSecContext(&frame.saved_user, &frame.saved_context);
	SetUserIdAndSecContext(whole->owner, frame.saved_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	evs_view_create(whole, select);
	SetUserIdAndSecContext(frame.saved_user, frame.saved_context);
}

/* The batch view of an event table, wherever it is; InvalidOid if it is gone. */
static Oid
batch_view(Oid event_table)
{
	Oid			types[] = {OIDOID, OIDOID};
	Datum		values[] = {ObjectIdGetDatum(event_table), ObjectIdGetDatum(evs_source_find(event_table))};
	bool		isnull;

	evs_owner_run_extension("SELECT c.oid FROM pg_rewrite r"
							" JOIN pg_depend t ON t.classid = 'pg_rewrite'::regclass AND t.objid = r.oid"
							"  AND t.refclassid = 'pg_class'::regclass AND t.refobjid IN ($1, $2)"
							" JOIN pg_depend f ON f.classid = 'pg_rewrite'::regclass AND f.objid = r.oid"
							"  AND f.refclassid = 'pg_proc'::regclass"
							"  AND f.refobjid = 'evstore._batch_from()'::regprocedure"
							" JOIN pg_class c ON c.oid = r.ev_class"
							" JOIN pg_class e ON e.oid = $1 WHERE c.relnamespace <> 'evstore'::regnamespace"
							/* Others may have made views like it. */
							" ORDER BY c.relowner = e.relowner DESC, c.relname = 'new_' || e.relname DESC, c.oid LIMIT 1",
							lengthof(types), types, values, NULL, SPI_OK_SELECT);
	return SPI_processed == 0 ? InvalidOid :
		DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Make one of the views. */
static void
make_view(const EvsProjection *whole, const char *schema, Oid batch)
{
	EvsOwnerFrame frame;
	char	   *view = quote_qualified_identifier(schema, get_rel_name(batch));
	char	   *select = divided(whole, batch);

	evs_owner_begin(&frame, whole->owner, NULL);
	if (SPI_execute(psprintf("CREATE VIEW %s WITH (security_invoker = true) AS %s", view, select), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not create view %s", view);
	evs_owner_end(&frame);
}

/* Does the statement find its shard's events? Refused here rather than with its first batch. */
static void
try_statement(const EvsProjection *whole)
{
	EvsBounds	bounds = {.shards = whole->shards};
	const EvsBounds *outer = evs_bounds_set(&bounds);
	EvsOwnerFrame frame;

	PG_TRY();
	{
		evs_owner_begin(&frame, whole->owner,
						evs_owner_settings_with_schema(whole->stored_settings, evs_view_schema(whole)));
		evs_statement_check(whole->definition);
		evs_owner_end(&frame);
	}
	PG_FINALLY();
	{
		(void) evs_bounds_set(outer);
	}
	PG_END_TRY();
}

/* Make the views through which a statement's shards read their batches, as they are to be now. Call inside SPI. */
void
evs_shards_make_views(const EvsProjection *whole)
{
	char	   *schema = evs_view_schema(whole);
	ListCell   *cell;

	evs_shadow_drop(schema);
	if (whole->kind != EVS_STATEMENT || whole->shards == 1)
		return;
	(void) evs_shadow_create_schema(schema, whole->owner);
	foreach(cell, whole->event_tables)
	{
		Oid			batch = batch_view(lfirst_oid(cell));

		if (OidIsValid(batch))
			make_view(whole, schema, batch);
	}
	evs_shadow_close_schema(schema, whole->owner);
	try_statement(whole);
}

/*
 * What shards have skipped or parked is of the shards that it would be of now,
 * "shards" of them. A query's need not be: nothing asks whose it is. Counts them
 * anew. Call inside SPI.
 */
void
evs_shards_settle_passed(const EvsProjection *whole, int shards)
{
	/* Every shard may have skipped the same event, of which no key can be computed. */
	run("DELETE FROM evstore._skipped s WHERE projection IN " EVS_SHARDS_OF " AND EXISTS (SELECT FROM evstore._skipped o"
		" WHERE o.projection IN " EVS_SHARDS_OF " AND o.\"position\" = s.\"position\" AND o.projection < s.projection)",
		whole->id, shards, SPI_OK_DELETE);
	run("UPDATE evstore._skipped s SET projection = t.id FROM evstore._projection t"
		" WHERE s.projection IN " EVS_SHARDS_OF " AND (t.id = $1 OR t.shard_of = $1) AND t.shard < $2 AND s.projection <> t.id"
		" AND CASE t.kind WHEN 'query' THEN t.shard = 0 ELSE evstore._in_shard(evstore._hash(0, s.stream), t.shard, $2) END",
		whole->id, shards, SPI_OK_UPDATE);
	run("UPDATE evstore._parked s SET projection = t.id FROM evstore._projection t"
		" WHERE s.projection IN " EVS_SHARDS_OF " AND (t.id = $1 OR t.shard_of = $1) AND t.shard < $2 AND s.projection <> t.id"
		" AND evstore._in_shard(evstore._hash(0, s.stream), t.shard, $2)",
		whole->id, shards, SPI_OK_UPDATE);
	run("UPDATE evstore._checkpoint c SET skipped = (SELECT count(*) FROM evstore._skipped s WHERE s.projection = c.projection),"
		" parked = (SELECT count(*) FROM evstore._parked s WHERE s.projection = c.projection)"
		" WHERE projection IN " EVS_SHARDS_OF, whole->id, shards, SPI_OK_UPDATE);
}

/* Write down that there are so many shards, all at one position. */
static void
write_rows(const EvsProjection *whole, int shards)
{
	if (shards > whole->shards)
	{
		evs_projection_set_division(whole->id, shards, evs_shard_hashes());
		evs_projection_insert_shards(whole->id, whole->shards);
	}
	evs_shards_settle_passed(whole, shards);
	if (shards < whole->shards)
	{
		run("DELETE FROM evstore._checkpoint WHERE projection IN (SELECT id FROM evstore._projection WHERE shard_of = $1 AND shard >= $2)",
			whole->id, shards, SPI_OK_DELETE);
		run("DELETE FROM evstore._projection WHERE shard_of = $1 AND shard >= $2", whole->id, shards, SPI_OK_DELETE);
		evs_projection_set_division(whole->id, shards, evs_shard_hashes());
	}
}

/* Give a projection so many shards. Call inside SPI. */
void
evs_shards_set(int id, int shards)
{
	EvsProjection *whole = evs_projection_load(id);
	ListCell   *cell;

	evs_shards_check_number(shards);
	if (whole == NULL || whole->shards == shards)
		return;
	evs_declare_lock_name(whole->name);
	/* Views are made of what events are read from: as in upcaster.c, that comes before the modes. */
	foreach(cell, whole->event_tables)
		evs_source_lock(lfirst_oid(cell), false);
	(void) evs_shards_lock_modes(evs_shards_list(id), true);
	whole = evs_projection_load(id);
	if (whole == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the projection was dropped meanwhile")));
	check(whole);
	align(whole);
	if (whole->shards == 1 && whole->kind != EVS_STATEMENT)
		divide_view(whole);
	write_rows(whole, shards);
	evs_projection_note_change();
	evs_shards_make_views(evs_projection_load(id));
}
