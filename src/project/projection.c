/*
 * projection.c
 *		The rows that say what projections there are.
 *
 * A projection is a row of evstore._projection, its checkpoint one of
 * evstore._checkpoint, and, unless it is a statement, a view of its own,
 * evstore._batch_<id>: a query over the current batch, or the calls of a handler
 * for its events. In a view the server keeps the names for us: tables, columns
 * and functions it uses can be renamed and moved, and cannot be dropped from
 * under it. All three are the extension owner's; the view is read with the
 * rights of whoever applies the batch.
 *
 * When a transaction that changed any of it commits, the manager of the
 * database is rung, and sees by the generation that there is something to read.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/owner.h"
#include "base/wakeup.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "project/checkpoint.h"
#include "project/failure.h"
#include "project/generation.h"
#include "project/aggregate.h"
#include "project/projection.h"
#include "project/view.h"
#include "project/query.h"
#include "project/shadow.h"
#include "storage/lmgr.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* Kinds as the table calls them. */
static const char *const kind_names[] = {
	[EVS_QUERY] = "query",
	[EVS_STATEMENT] = "statement",
	[EVS_HANDLER] = "handler",
};

/* All event tables of a row. */
#define EVENT_TABLES "coalesce(event_tables, ARRAY[event_table])::oid[]"

/* Did this transaction change what projections there are? */
static bool definitions_changed = false;

/* Is the row being inserted one that was declared here, or does a restore bring it? */
static bool declaring = false;

/* The subtransaction in which a restore brought the first; invalid if none did. */
static SubTransactionId restored_in = InvalidSubTransactionId;

/* At commit, tell the manager. */
static void
projection_finished(bool committed)
{
	if (definitions_changed && committed)
	{
		evs_generation_advance(evs_database_slot());
		evs_wakeup_ring_manager(evs_database_slot());
	}
	definitions_changed = false;
	declaring = false;
	restored_in = InvalidSubTransactionId;
}

/* A subtransaction was rolled back: whatever was being declared or restored in it was not. */
static void
projection_subxact_aborted(SubTransactionId subxact)
{
	declaring = false;
	if (restored_in >= subxact)
		restored_in = InvalidSubTransactionId;
}

/* Whoever commits a prepared transaction does not know what it changed. */
static void
projection_before_prepare(void)
{
	if (definitions_changed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has declared or changed projections")));
}

const EvsXactSubscriber evs_projection_xact = {
	.before_prepare = projection_before_prepare,
	.finished = projection_finished,
	.subxact_aborted = projection_subxact_aborted,
};

/* Projections are changed: note the wish; it is acted on at commit. */
void
evs_projection_note_change(void)
{
	(void) evs_database_slot();	/* so that commit need not look for it */
	definitions_changed = true;
}

/* Did the current transaction change projections? */
bool
evs_projection_changed_here(void)
{
	return definitions_changed;
}

/* Did the current transaction restore projections? */
bool
evs_projection_restored_here(void)
{
	return restored_in != InvalidSubTransactionId;
}

/* Run a statement on the extension's tables, as their owner. */
static void
run(const char *sql, int count, Oid *types, Datum *values, const char *nulls, int expected)
{
	evs_owner_run_extension(sql, count, types, values, nulls, expected);
}

/* Run a statement that takes the id of a projection. */
static void
run_for(const char *sql, int id, int expected)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(id)};

	run(sql, 1, types, values, NULL, expected);
}

/*
 * Read what takes one oid, as it is now: whoever appends may have a snapshot
 * from before the projection was declared, and must apply it all the same.
 */
static void
read_latest(const char *sql, Oid argument)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(argument)};
	Snapshot	snapshot;
	EvsOwnerFrame frame;
	SPIPlanPtr	plan;

	evs_owner_begin_extension(&frame);
	plan = SPI_prepare(sql, lengthof(types), types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(plan, values, NULL, snapshot, InvalidSnapshot, true, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", sql);
	UnregisterSnapshot(snapshot);
	evs_owner_end(&frame);
}

/* Column of the first row that SPI returned. */
static Datum
column(int number, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, isnull);
}

/* The same, of type text; NULL if it is null. */
static char *
text_column(int number)
{
	bool		isnull;
	Datum		value = column(number, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* The id of a projection by name and, if asked for, its owner; 0 if there is none. */
int
evs_projection_find(const char *name, Oid *owner)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	int			id = 0;
	bool		isnull;

	SPI_connect();
	run("SELECT id, owner::oid FROM evstore._projection WHERE name = $1 AND rebuilds IS NULL AND shard_of IS NULL",
		1, types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		id = DatumGetInt32(column(1, &isnull));
		if (owner)
			*owner = DatumGetObjectId(column(2, &isnull));
	}
	SPI_finish();
	return id;
}

/* The kind of a name. */
static EvsProjectionKind
kind_of(const char *name)
{
	for (int i = 0; i < lengthof(kind_names); i++)
		if (strcmp(kind_names[i], name) == 0)
			return i;
	elog(ERROR, "no projection is of kind \"%s\"", name);
}

/* The id of a projection that the caller may steer, by name. */
int
evs_projection_find_own(const char *name)
{
	Oid			owner;
	int			id = evs_projection_find(name, &owner);

	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("projection \"%s\" does not exist", name)));
	/* A role that was dropped has no members; its projections are the superusers'. */
	if (!superuser() && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of projection \"%s\"", name)));
	return id;
}

/* An array of oids as a list. */
static List *
oid_list(Datum array)
{
	List	   *list = NIL;
	Datum	   *items;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(array), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &items, NULL, &count);
	for (int i = 0; i < count; i++)
		list = lappend_oid(list, DatumGetObjectId(items[i]));
	pfree(items);
	return list;
}

/* The id of a projection by name, 0 if there is none, and, if it is inline, the event tables that it follows. */
int
evs_projection_find_mode(const char *name, List **inline_tables)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	int			id = 0;
	bool		isnull;
	Datum		tables;

	*inline_tables = NIL;
	SPI_connect();
	run("SELECT id, CASE mode WHEN 'inline' THEN " EVENT_TABLES " END FROM evstore._projection"
		" WHERE name = $1 AND rebuilds IS NULL AND shard_of IS NULL",
		1, types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		id = DatumGetInt32(column(1, &isnull));
		tables = column(2, &isnull);
		MemoryContextSwitchTo(caller);
		if (!isnull)
			*inline_tables = oid_list(tables);
	}
	SPI_finish();
	return id;
}

/* A list of oids as an array. */
static Datum
oid_array(const List *list)
{
	Datum	   *items = palloc_array(Datum, list_length(list));
	ListCell   *cell;

	foreach(cell, list)
		items[foreach_current_index(cell)] = ObjectIdGetDatum(lfirst_oid(cell));
	return PointerGetDatum(construct_array(items, list_length(list), OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

/* A schema for what belongs to a rebuild. */
char *
evs_projection_shadow(int id)
{
	return psprintf("evstore_shadow_%d", id);
}

/* A statement or a handler that is applied anew finds its tables, and writes, in another schema. */
static void
enter_shadow(EvsProjection *projection)
{
	char	   *schema = evs_projection_shadow(projection->id);

	projection->shadow = evs_shadow_find(schema);
	if (OidIsValid(projection->shadow))
		projection->settings = evs_owner_settings_with_schema(projection->settings, schema);
}

/* Load a projection, NULL if there is none of this id; call inside SPI. */
EvsProjection *
evs_projection_load(int id)
{
	MemoryContext caller = CurrentMemoryContext;
	EvsProjection *projection;
	bool		isnull;

	read_latest("SELECT name, kind, owner::oid, event_table::oid, read_table::oid,"
				" definition, columns, on_conflict, settings, batch_size, coalesce(state_table, read_table)::oid,"
				" on_error, retries, mode = 'inline', ordered,"
				" " EVENT_TABLES ", keys, read_tables::oid[], coalesce(rebuilds, 0),"
				" coalesce(shard_of, 0), shard, shards, division, coalesce(hashes, 0)"
				" FROM evstore._projection WHERE id::oid = $1", id);
	if (SPI_processed == 0)
		return NULL;

	MemoryContextSwitchTo(caller);
	projection = palloc0_object(EvsProjection);
	projection->id = id;
	projection->name = text_column(1);
	projection->kind = kind_of(text_column(2));
	projection->owner = DatumGetObjectId(column(3, &isnull));
	projection->event_table = DatumGetObjectId(column(4, &isnull));
	projection->read_table = DatumGetObjectId(column(5, &isnull));
	if (isnull)
		projection->read_table = InvalidOid;
	projection->definition = text_column(6);
	projection->columns = text_column(7);
	projection->on_conflict = text_column(8);
	projection->settings = DatumGetArrayTypePCopy(column(9, &isnull));
	projection->batch_size = DatumGetInt32(column(10, &isnull));
	projection->state_table = DatumGetObjectId(column(11, &isnull));
	if (isnull)
		projection->state_table = InvalidOid;
	projection->on_error = evs_failure_policy(text_column(12));
	projection->retries = DatumGetInt32(column(13, &isnull));
	projection->is_inline = DatumGetBool(column(14, &isnull));
	projection->ordered = DatumGetBool(column(15, &isnull));
	projection->event_tables = oid_list(column(16, &isnull));
	projection->keys = text_column(17);
	projection->read_tables = oid_list(column(18, &isnull));
	projection->rebuilds = DatumGetInt32(column(19, &isnull));
	projection->shard_of = DatumGetInt32(column(20, &isnull));
	projection->shard = DatumGetInt32(column(21, &isnull));
	projection->shards = DatumGetInt32(column(22, &isnull));
	projection->division = DatumGetInt32(column(23, &isnull));
	projection->hashes = DatumGetInt64(column(24, &isnull));
	projection->stored_settings = projection->settings;
	if (projection->shards > 1 && projection->kind == EVS_STATEMENT &&
		OidIsValid(evs_shadow_find(evs_view_schema(projection))))
		projection->settings = evs_owner_settings_with_schema(projection->settings, evs_view_schema(projection));
	if (projection->rebuilds != 0 && projection->kind != EVS_QUERY)
		enter_shadow(projection);
	return projection;
}

/* The ids of the inline projections that follow a table, be it with others, in their order. Call inside SPI. */
List *
evs_projection_list_inline(Oid event_table)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *ids = NIL;
	bool		isnull;

	read_latest("SELECT id FROM evstore._projection"
				" WHERE $1 = ANY (" EVENT_TABLES ") AND mode = 'inline' ORDER BY id", event_table);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		ids = lappend_int(ids, DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
	return ids;
}

/* Refuse an owner from whom policies hide events: what is seen today need not be tomorrow. */
void
evs_projection_check_policies(Oid event_table, Oid owner)
{
	if (check_enable_rls(event_table, owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row-level security of event table \"%s\" binds role \"%s\"",
						get_rel_name(event_table), GetUserNameFromId(owner, false)),
				 errdetail("A projection applies every event once, or misses it for ever."),
				 errhint("Have the table's owner, or a role with BYPASSRLS, own the projection.")));
}

/*
 * Refuse an owner who may not read the events of a table that is named, and not
 * read in sight of the server: it is kept from being dropped for the projection.
 * A handler gets events whole, and a statement reads the batch view, which shows
 * them whole; so it is the table that must be granted, and not some columns.
 */
void
evs_projection_check_reader(Oid event_table, Oid owner)
{
	if (pg_class_aclcheck(event_table, owner, ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for event table \"%s\"", get_rel_name(event_table)),
				 errdetail("The owner of a projection needs the SELECT privilege on it.")));
	evs_projection_check_policies(event_table, owner);
}

/*
 * Add a projection; "select" is what its view shows, NULL if it has none: a
 * statement, or a rebuild by the same definition. Call inside SPI.
 */
void
evs_projection_insert(EvsProjection *projection, const char *select)
{
	Oid			types[] = {TEXTOID, TEXTOID, OIDOID, OIDOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, INT4OID, OIDOID, BOOLOID,
	OIDARRAYOID, TEXTOID, OIDARRAYOID, INT4OID, INT4OID};
	Datum		values[] = {
		CStringGetTextDatum(projection->name),
		CStringGetTextDatum(kind_names[projection->kind]),
		ObjectIdGetDatum(projection->owner),
		ObjectIdGetDatum(projection->event_table),
		ObjectIdGetDatum(projection->read_table),
		CStringGetTextDatum(projection->definition),
		projection->columns ? CStringGetTextDatum(projection->columns) : 0,
		projection->on_conflict ? CStringGetTextDatum(projection->on_conflict) : 0,
		PointerGetDatum(projection->settings),
		Int32GetDatum(projection->batch_size),
		ObjectIdGetDatum(projection->state_table),
		BoolGetDatum(projection->ordered),
		oid_array(projection->event_tables),
		projection->keys ? CStringGetTextDatum(projection->keys) : 0,
		oid_array(projection->read_tables),
		Int32GetDatum(projection->rebuilds),
		Int32GetDatum(projection->id),
	};
	char		nulls[] = "                 ";
	bool		isnull;

	if (!OidIsValid(projection->read_table))
		nulls[4] = 'n';
	if (projection->kind != EVS_QUERY)
		nulls[6] = nulls[7] = nulls[13] = 'n';
	if (projection->state_table == projection->read_table)
		nulls[10] = 'n';
	if (list_length(projection->event_tables) < 2)
		nulls[12] = 'n';

	declaring = true;
	run("WITH p AS (INSERT INTO evstore._projection (name, kind, mode, owner, event_table,"
		" read_table, definition, columns, on_conflict, settings, batch_size, state_table, ordered, event_tables,"
		" keys, read_tables, rebuilds, id)"
		" VALUES ($1, $2, 'async', $3::regrole, $4::regclass, $5::regclass, $6, $7, $8, $9, $10, $11::regclass, $12, $13::regclass[],"
		" $14, $15::regclass[], nullif($16, 0), coalesce(nullif($17, 0), nextval('evstore._projection_id')))"
		" RETURNING id) INSERT INTO evstore._checkpoint (projection) SELECT id FROM p"
		" RETURNING projection",
		lengthof(types), types, values, nulls, SPI_OK_INSERT_RETURNING);
	declaring = false;
	projection->id = DatumGetInt32(column(1, &isnull));

	if (select)
		evs_view_create(projection, select);
	evs_projection_note_change();
}

/* Say that a projection has so many shards, told apart by these hashes. Call inside SPI. */
void
evs_projection_set_division(int whole, int shards, int64 hashes)
{
	Oid			types[] = {INT4OID, INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(whole), Int32GetDatum(shards), Int64GetDatum(hashes)};

	run("UPDATE evstore._projection SET shards = $2, division = division + 1, hashes = $3 WHERE id = $1 OR shard_of = $1",
		lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	evs_projection_note_change();
}

/* Add the shards that a projection lacks, from the one of a number on, where the first stands. Call inside SPI. */
void
evs_projection_insert_shards(int whole, int from)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(whole), Int32GetDatum(from)};

	declaring = true;
	run("WITH n AS (INSERT INTO evstore._projection SELECT r.* FROM evstore._projection p, generate_series($2, p.shards - 1) s,"
		" jsonb_populate_record(p, jsonb_build_object('id', nextval('evstore._projection_id'), 'shard_of', $1, 'shard', s)) r"
		" WHERE p.id = $1 RETURNING id) INSERT INTO evstore._checkpoint (projection, \"position\", paused)"
		" SELECT n.id, c.\"position\", c.paused FROM n, evstore._checkpoint c WHERE c.projection = $1",
		lengthof(types), types, values, NULL, SPI_OK_INSERT);
	declaring = false;
}

/* Remove a projection. Call inside SPI. */
void
evs_projection_delete(const EvsProjection *projection)
{
	static const char *const tables[] = {"_checkpoint", "_skipped", "_parked"};

	if (projection->rebuilds == 0 || OidIsValid(evs_view_own(projection->id)))
		evs_view_lock(projection, AccessExclusiveLock);
	if (projection->shards > 1)
		evs_shadow_drop(evs_view_schema(projection));
	/* A batch that is being applied finds its checkpoint gone, and is rolled back. */
	evs_checkpoint_lock_all(projection->id);
	for (int i = 0; i < lengthof(tables); i++)
		run_for(psprintf("DELETE FROM evstore.%s WHERE projection IN " EVS_SHARDS_OF, tables[i]), projection->id, SPI_OK_DELETE);
	run_for("DELETE FROM evstore._projection WHERE id = $1 OR shard_of = $1", projection->id, SPI_OK_DELETE);
	evs_view_drop(projection);
	evs_projection_note_change();
}

/*
 * Hold a projection where it is, or let it go on. A batch that is being applied
 * is committed before this, or finds that it cannot move the checkpoint any
 * more. Call inside SPI.
 */
void
evs_projection_pause(int id, bool paused)
{
	evs_checkpoint_lock_all(id);
	run_for(paused ? "UPDATE evstore._checkpoint SET paused = true WHERE projection IN "
			EVS_SHARDS_OF " AND \"position\" < " EVS_INLINE_CHECKPOINT_SQL
			: "UPDATE evstore._checkpoint SET paused = false WHERE projection IN"
			" (SELECT id FROM evstore._projection WHERE id = $1 OR shard_of = $1 OR rebuilds = $1)", id, SPI_OK_UPDATE);
	if (paused && SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an inline projection cannot be paused"),
				 errdetail("Whoever appends applies it."),
				 errhint("Have workers apply it with evstore.set_projection(name, mode => 'async'), and pause it then.")));
	evs_projection_note_change();
}

/* Set the mode of a projection, and where it begins then. False if its checkpoint is not at "from", or paused. Call inside SPI. */
bool
evs_projection_set_mode(const EvsProjection *projection, bool is_inline, EvsPosition from, EvsPosition to)
{
	Oid			types[] = {INT4OID, BOOLOID};
	Datum		values[] = {Int32GetDatum(projection->id), BoolGetDatum(is_inline)};

	if (!evs_checkpoint_move(projection->id, from, to))
		return false;
	run("UPDATE evstore._projection SET mode = CASE WHEN $2 THEN 'inline' ELSE 'async' END WHERE id = $1",
		lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	evs_projection_note_change();
	return true;
}

PG_FUNCTION_INFO_V1(evs_projection_arrives);

/*
 * evstore._projection_arrives(): AFTER INSERT FOR EACH ROW on
 * evstore._projection and evstore._checkpoint.
 *
 * A row that nobody declared here comes from a restore. A query projection may
 * start by itself as soon as its row is there: until its read table and the
 * read table's key are restored, its batches fail and are retried. Nothing
 * tells when the tables that another one writes are complete, so it waits
 * for somebody to resume it. An inline one needs no start: its trigger comes
 * with the event table.
 *
 * The two tables may be filled in any order, and at the same time. The lock makes
 * one wait for the other, and so whoever is the second sees both rows.
 */
Datum
evs_projection_arrives(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Datum		id;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evstore._projection_arrives() must be fired after insert for each row")));
	if (declaring || !evs_shmem_ready())
		return PointerGetDatum(NULL);

	evs_projection_note_change();
	if (restored_in == InvalidSubTransactionId)
		restored_in = GetCurrentSubTransactionId();
	LockRelationOid(get_relname_relid("_projection", RelationGetNamespace(trigger->tg_relation)), ShareLock);
	id = heap_getattr(trigger->tg_trigtuple, 1, RelationGetDescr(trigger->tg_relation), &isnull);
	SPI_connect();
	run_for("UPDATE evstore._checkpoint c SET paused = true FROM evstore._projection p"
			" WHERE p.id = $1 AND c.projection = p.id AND p.kind <> 'query' AND p.mode <> 'inline'",
			DatumGetInt32(id), SPI_OK_UPDATE);
	SPI_finish();
	return PointerGetDatum(NULL);
}
