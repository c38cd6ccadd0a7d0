/*
 * projection.c
 *		Declaring, dropping and loading projections.
 *
 * The definition is a row of evstore._projection, its checkpoint one of
 * evstore._checkpoint; both are written as the extension's owner, after the
 * caller's own rights have been used for everything that is the caller's: the
 * read table is created, and the query or statement tried, as the caller.
 *
 * When the transaction commits, the manager of the database is rung, and sees
 * by the generation that there is something to read.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/owner.h"
#include "base/wakeup.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "project/generation.h"
#include "project/projection.h"
#include "project/query.h"
#include "project/statement.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

/* Room on a read table's pages, so that its updates are HOT. */
#define READ_TABLE_FILLFACTOR 80

/* Did this transaction declare or drop a projection? */
static bool definitions_changed = false;

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
}

const EvsXactSubscriber evs_projection_xact = {.finished = projection_finished};

/* Note the wish; it is acted on at commit. */
static void
note_change(void)
{
	(void) evs_database_slot();	/* so that commit need not look for it */
	definitions_changed = true;
}

/* Run a statement on the extension's tables, as their owner. */
static void
run_on_catalog(const char *sql, int count, Oid *types, Datum *values, const char *nulls, int expected)
{
	EvsOwnerFrame frame;
	int			result;

	evs_owner_begin_extension(&frame);
	result = SPI_execute_with_args(sql, count, types, values, nulls, false, 0);
	if (result != expected)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
	evs_owner_end(&frame);
}

/* Column of the one row that SPI returned. */
static Datum
column(int number, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, isnull);
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
	run_on_catalog("SELECT id, owner::oid FROM evstore._projection WHERE name = $1",
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

/* Load a projection, NULL if there is none of this id; call inside SPI. */
EvsProjection *
evs_projection_load(int id)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(id)};
	EvsProjection *projection;
	bool		isnull;

	run_on_catalog("SELECT name, kind = 'query', owner::oid, event_table::oid, read_table::oid,"
				   " batch_sql, settings, batch_size FROM evstore._projection WHERE id = $1",
				   1, types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return NULL;

	MemoryContextSwitchTo(caller);
	projection = palloc0_object(EvsProjection);
	projection->id = id;
	projection->name = TextDatumGetCString(column(1, &isnull));
	projection->is_query = DatumGetBool(column(2, &isnull));
	projection->owner = DatumGetObjectId(column(3, &isnull));
	projection->event_table = DatumGetObjectId(column(4, &isnull));
	projection->read_table = DatumGetObjectId(column(5, &isnull));
	if (isnull)
		projection->read_table = InvalidOid;
	projection->batch_sql = TextDatumGetCString(column(6, &isnull));
	projection->settings = DatumGetArrayTypePCopy(column(7, &isnull));
	projection->batch_size = DatumGetInt32(column(8, &isnull));
	return projection;
}

/* Run one statement of the caller's. */
static void
execute(const char *sql, int expected)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != expected)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

/* Create the read table of a query, empty, with its key. */
static Oid
create_read_table(const EvsCompiledQuery *query, RangeVar *name, const char *projection)
{
	Oid			schema = RangeVarGetCreationNamespace(name);
	char	   *table = quote_qualified_identifier(get_namespace_name(schema), name->relname);
	StringInfoData keys;
	ListCell   *cell;

	if (isAnyTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("a read table cannot be temporary")));

	initStringInfo(&keys);
	foreach(cell, query->keys)
		appendStringInfo(&keys, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 (char *) lfirst(cell));

	/* As the caller, over no batch: what the caller may not read fails here, not in a worker. */
	execute(psprintf("SELECT FROM (%s) AS batch", query->select), SPI_OK_SELECT);
	execute(psprintf("CREATE TABLE %s WITH (fillfactor = %d) AS %s WITH NO DATA",
					 table, READ_TABLE_FILLFACTOR, query->select), SPI_OK_UTILITY);
	/* A key may be NULL (an order without a region), and is a key all the same. */
	execute(psprintf("ALTER TABLE %s ADD UNIQUE NULLS NOT DISTINCT (%s)", table, keys.data),
			SPI_OK_UTILITY);
	execute(psprintf("COMMENT ON TABLE %s IS %s", table,
					 quote_literal_cstr(psprintf("kept by evstore projection \"%s\"", projection))),
			SPI_OK_UTILITY);
	return get_relname_relid(name->relname, schema);
}

/* Refuse to make a read table of what exists and cannot be one. */
static Oid
existing_read_table(RangeVar *name)
{
	Oid			relid = RangeVarGetRelid(name, AccessShareLock, false);

	if (get_rel_persistence(relid) != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("read table \"%s\" is not logged", name->relname),
				 errdetail("A crash would empty it and leave its checkpoint where it is.")));
	return relid;
}

/* A text argument, NULL if it is null. */
static char *
text_argument(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* Arguments of create_projection(). */
enum
{
	ARG_NAME, ARG_QUERY, ARG_STATEMENT, ARG_MODE, ARG_READ_TABLE, ARG_EVENT_TABLE, ARG_BATCH_SIZE
};

/* Refuse arguments that do not fit together. */
static void
check_arguments(FunctionCallInfo fcinfo)
{
	char	   *mode = text_argument(fcinfo, ARG_MODE);

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.create_projection()");
	if (PG_ARGISNULL(ARG_NAME))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a projection must not be null")));
	if (PG_ARGISNULL(ARG_QUERY) == PG_ARGISNULL(ARG_STATEMENT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a projection has either a query or a statement")));
	if (mode == NULL || strcmp(mode, "async") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("projection mode \"%s\" is not supported", mode ? mode : "null"),
				 errhint("The mode is \"async\".")));
	if (PG_ARGISNULL(ARG_BATCH_SIZE) || PG_GETARG_INT32(ARG_BATCH_SIZE) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be at least 1")));
}

/* Insert the rows of a new projection. */
static void
insert_projection(const EvsProjection *projection, const char *definition)
{
	Oid			types[] = {TEXTOID, TEXTOID, OIDOID, OIDOID, OIDOID, TEXTOID, TEXTOID, TEXTARRAYOID, INT4OID};
	Datum		values[] = {
		CStringGetTextDatum(projection->name),
		CStringGetTextDatum(projection->is_query ? "query" : "statement"),
		ObjectIdGetDatum(projection->owner),
		ObjectIdGetDatum(projection->event_table),
		ObjectIdGetDatum(projection->read_table),
		CStringGetTextDatum(definition),
		CStringGetTextDatum(projection->batch_sql),
		PointerGetDatum(projection->settings),
		Int32GetDatum(projection->batch_size),
	};
	char		nulls[] = "         ";

	if (!OidIsValid(projection->read_table))
		nulls[4] = 'n';
	run_on_catalog("WITH p AS (INSERT INTO evstore._projection (name, kind, mode, owner, event_table,"
				   " read_table, definition, batch_sql, settings, batch_size)"
				   " VALUES ($1, $2, 'async', $3::regrole, $4::regclass, $5::regclass, $6, $7, $8, $9)"
				   " RETURNING id) INSERT INTO evstore._checkpoint (projection) SELECT id FROM p",
				   lengthof(types), types, values, nulls, SPI_OK_INSERT);
}

PG_FUNCTION_INFO_V1(evs_create_projection);
PG_FUNCTION_INFO_V1(evs_drop_projection);

/* evstore.create_projection(name, query, statement, mode, read_table, event_table, batch_size) */
Datum
evs_create_projection(PG_FUNCTION_ARGS)
{
	EvsProjection projection = {0};
	char	   *definition;
	char	   *read_table;

	check_arguments(fcinfo);
	projection.name = text_argument(fcinfo, ARG_NAME);
	projection.is_query = !PG_ARGISNULL(ARG_QUERY);
	projection.owner = GetUserId();
	projection.settings = evs_owner_capture_settings();
	projection.batch_size = PG_GETARG_INT32(ARG_BATCH_SIZE);
	definition = text_argument(fcinfo, projection.is_query ? ARG_QUERY : ARG_STATEMENT);
	read_table = text_argument(fcinfo, ARG_READ_TABLE);
	if (evs_projection_find(projection.name, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("projection \"%s\" already exists", projection.name)));

	SPI_connect();
	if (projection.is_query)
	{
		EvsCompiledQuery *query = evs_query_compile(definition);
		RangeVar   *name = makeRangeVarFromNameList(EVS_QUALIFIED_NAME(read_table ? read_table : projection.name));

		if (!PG_ARGISNULL(ARG_EVENT_TABLE) && PG_GETARG_OID(ARG_EVENT_TABLE) != query->event_table)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the query reads another event table than the one given")));
		projection.event_table = query->event_table;
		projection.read_table = create_read_table(query, name, projection.name);
		projection.batch_sql =
			evs_query_upsert(query, quote_qualified_identifier(get_namespace_name(get_rel_namespace(projection.read_table)),
															   name->relname));
	}
	else
	{
		Relation	rel;

		projection.event_table = evs_table_argument(fcinfo, ARG_EVENT_TABLE);
		(void) evs_table_open(projection.event_table, AccessShareLock, &rel);
		evs_table_close(rel);
		evs_statement_check(definition);
		if (read_table)
			projection.read_table =
				existing_read_table(makeRangeVarFromNameList(EVS_QUALIFIED_NAME(read_table)));
		projection.batch_sql = definition;
	}
	insert_projection(&projection, definition);
	SPI_finish();

	note_change();
	PG_RETURN_VOID();
}

/* evstore.drop_projection(name, keep_table) */
Datum
evs_drop_projection(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		keep_table = PG_GETARG_BOOL(1);
	Oid			types[] = {INT4OID};
	Datum		values[1];
	Oid			owner;
	int			id;
	EvsProjection *projection;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.drop_projection()");
	id = evs_projection_find(name, &owner);
	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("projection \"%s\" does not exist", name)));
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of projection \"%s\"", name)));

	SPI_connect();
	projection = evs_projection_load(id);
	values[0] = Int32GetDatum(id);
	/* Waits for a batch that is being applied, and keeps the next one out. */
	run_on_catalog("DELETE FROM evstore._checkpoint WHERE projection = $1",
				   1, types, values, NULL, SPI_OK_DELETE);
	run_on_catalog("DELETE FROM evstore._projection WHERE id = $1",
				   1, types, values, NULL, SPI_OK_DELETE);
	if (projection && projection->is_query && !keep_table && get_rel_name(projection->read_table))
		execute(psprintf("DROP TABLE %s",
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(projection->read_table)),
													get_rel_name(projection->read_table))),
				SPI_OK_UTILITY);
	SPI_finish();

	note_change();
	PG_RETURN_VOID();
}
