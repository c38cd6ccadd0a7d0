/*
 * declare.c
 *		Declaring and dropping projections: the SQL functions.
 *
 * Everything that is the caller's is done with the caller's rights: the query
 * or statement is tried, and the read table created, as the caller. What the
 * caller may not do fails here, not in a worker.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/advisory.h"
#include "base/owner.h"
#include "base/shmem.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "project/bounds.h"
#include "project/declare.h"
#include "project/handler.h"
#include "project/mode.h"
#include "project/projection.h"
#include "project/view.h"
#include "project/query.h"
#include "project/readview.h"
#include "project/rebuild.h"
#include "project/shards.h"
#include "project/source.h"
#include "project/statement.h"
#include "project/steer.h"
#include "project/writers.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

/* Room on a read table's pages, so that its updates are HOT. */
#define READ_TABLE_FILLFACTOR 80

/*
 * Positions that a batch spans at most, unless the projection says otherwise: a
 * handler does much for each event, and what it did is not to be lost at once.
 */
#define BATCH_SIZE		1000000
#define HANDLER_BATCH_SIZE 1000

/* Run one statement of the caller's. */
static void
execute(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

/* What the tables and views of a query are for, as their comments say. */
static char *
purpose_of(const EvsProjection *projection)
{
	return psprintf("kept by evstore projection \"%s\"", projection->name);
}

/* Say so in the catalog. */
static void
comment(const char *kind, const char *name, const char *purpose)
{
	execute(psprintf("COMMENT ON %s %s IS %s", kind, name, quote_literal_cstr(purpose)));
}

/* Create the table that a query is stored in, empty, with its key. */
static Oid
create_table(const EvsCompiledQuery *query, Oid schema, const char *name, const char *purpose)
{
	char	   *table = quote_qualified_identifier(get_namespace_name(schema), name);

	execute(psprintf("CREATE TABLE %s WITH (fillfactor = %d) AS %s WITH NO DATA",
					 table, READ_TABLE_FILLFACTOR, query->select));
	/* A key may be NULL (an order without a region), and is a key all the same. */
	execute(psprintf(query->has_keys ? "ALTER TABLE %s ADD UNIQUE NULLS NOT DISTINCT (%s)" :
					 "CREATE UNIQUE INDEX ON %s (%s)", table, query->keys));
	comment("TABLE", table, purpose);
	return get_relname_relid(name, schema);
}

/* Create the view that is the read table of a query which computes with what is stored. */
static Oid
create_view(const EvsCompiledQuery *query, Oid table, Oid schema, const char *name, const char *purpose)
{
	Oid			view = evs_read_view_create(query->state, table, schema, name);

	comment("VIEW", quote_qualified_identifier(get_namespace_name(schema), name), purpose);
	return view;
}

/* Create the read table of a query. */
static void
create_read_table(const EvsCompiledQuery *query, RangeVar *name, EvsProjection *projection)
{
	Oid			schema = RangeVarGetCreationNamespace(name);
	char	   *table = query->state ? psprintf("%s_state", name->relname) : name->relname;
	char	   *purpose = purpose_of(projection);
	EvsOwnerFrame frame;

	if (isAnyTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("a read table cannot be temporary")));
	if (strlen(table) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("read table name \"%s\" is too long", name->relname),
				 errdetail("It will be a view over a table named \"%s\".", table)));

	/* The compiled text names everything but pg_catalog's in full. */
	evs_owner_begin(&frame, GetUserId(), NULL);
	if (SPI_execute(psprintf("EXPLAIN %s", query->select), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not try the query");
	projection->state_table = create_table(query, schema, table, purpose);
	projection->read_table = query->state == NULL ? projection->state_table :
		create_view(query, projection->state_table, schema, name->relname, purpose);
	evs_owner_end(&frame);
}

/* Fill the table that a query is stored in with what the query is over no events. */
static void
fill_table(const EvsProjection *projection)
{
	char	   *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(projection->state_table)),
												   get_rel_name(projection->state_table));
	EvsOwnerFrame frame;

	evs_owner_begin(&frame, GetUserId(), NULL);
	if (evs_bounds_execute_outside(psprintf("INSERT INTO %s (%s) %s", table, projection->columns,
											evs_view_initial(projection))) != SPI_OK_INSERT)
		elog(ERROR, "could not fill table \"%s\"", table);
	evs_owner_end(&frame);
}

/* The table that a statement projection names as its read table. */
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
	ARG_NAME, ARG_QUERY, ARG_STATEMENT, ARG_HANDLER, ARG_HANDLERS, ARG_MODE, ARG_READ_TABLE, ARG_EVENT_TABLE, ARG_SETTINGS,
	ARG_READ_TABLES = ARG_SETTINGS + 5, ARG_SHARDS
};

/* Have others who declare, rebuild or drop the same name wait until we have, or have not. */
void
evs_declare_lock_name(const char *name)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0,
						 hash_bytes((const unsigned char *) name, strlen(name)), EVS_LOCK_NAME);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Refuse a name that no projection can have. */
static void
check_name(const char *name)
{
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a projection must not be null")));
	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("projection name \"%s\" is too long", name),
				 errdetail("It may have %d bytes.", NAMEDATALEN - 1)));
	evs_declare_lock_name(name);
	if (evs_projection_find(name, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("projection \"%s\" already exists", name)));
}

/* Refuse arguments that do not fit together. */
static void
check_arguments(FunctionCallInfo fcinfo)
{
	(void) evs_mode_parse(text_argument(fcinfo, ARG_MODE));
	if (!PG_ARGISNULL(ARG_QUERY) + !PG_ARGISNULL(ARG_STATEMENT) +
		!PG_ARGISNULL(ARG_HANDLER) + !PG_ARGISNULL(ARG_HANDLERS) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a projection has a query, a statement, a handler or handlers, and only one of them")));
	if (!PG_ARGISNULL(ARG_QUERY) && !PG_ARGISNULL(ARG_READ_TABLES))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a query has one read table, and makes it"),
				 errhint("Name it with read_table.")));
}

/* An error position inside the definition is none in the statement that declares it. */
void
evs_declare_definition_context(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

/* Declare a query projection. Call inside SPI. */
static void
declare_query(FunctionCallInfo fcinfo, EvsProjection *projection)
{
	EvsCompiledQuery *query = evs_query_compile(projection->definition);
	char	   *read_table = text_argument(fcinfo, ARG_READ_TABLE);
	List	   *names = EVS_QUALIFIED_NAME(read_table ? read_table : projection->name);
	ListCell   *cell;

	if (!PG_ARGISNULL(ARG_EVENT_TABLE) && !list_member_oid(query->event_tables, PG_GETARG_OID(ARG_EVENT_TABLE)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the query reads another event table than the one given")));
	projection->settings = evs_owner_capture_settings(false);
	projection->event_tables = query->event_tables;
	projection->event_table = linitial_oid(query->event_tables);
	projection->columns = query->columns;
	projection->keys = query->keys;
	projection->on_conflict = query->on_conflict;
	projection->ordered = query->ordered;
	create_read_table(query, makeRangeVarFromNameList(names), projection);
	projection->read_tables = list_make1_oid(projection->read_table);
	foreach(cell, query->event_tables)
		evs_projection_check_policies(lfirst_oid(cell), projection->owner);
	evs_projection_insert(projection, query->select);
	if (!query->has_keys)
		fill_table(projection);
}

/* Add a table to those that a statement or a handler writes. */
static void
add_read_table(EvsProjection *projection, const char *name)
{
	Oid			relid = existing_read_table(makeRangeVarFromNameList(EVS_QUALIFIED_NAME(name)));

	projection->read_tables = list_append_unique_oid(projection->read_tables, relid);
	projection->read_table = projection->state_table = linitial_oid(projection->read_tables);
}

/* Add those of an array of names. */
void
evs_declare_read_tables(EvsProjection *projection, ArrayType *names)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the name of a read table must not be null")));
		add_read_table(projection, TextDatumGetCString(elements[i]));
	}
}

/* What a statement and a handler have in common: they say themselves which tables they write. */
static void
declare_tables(FunctionCallInfo fcinfo, EvsProjection *projection)
{
	char	   *read_table = text_argument(fcinfo, ARG_READ_TABLE);
	Relation	rel;

	projection->settings = evs_owner_capture_settings(true);
	projection->event_table = evs_table_argument(fcinfo, ARG_EVENT_TABLE);
	evs_source_lock(projection->event_table, false);
	(void) evs_table_open(projection->event_table, AccessShareLock, &rel);
	evs_table_close(rel);
	evs_projection_check_reader(projection->event_table, projection->owner);
	if (read_table)
		add_read_table(projection, read_table);
	if (!PG_ARGISNULL(ARG_READ_TABLES))
		evs_declare_read_tables(projection, PG_GETARG_ARRAYTYPE_P(ARG_READ_TABLES));
}

/* Declare a statement projection. Call inside SPI. */
static void
declare_statement(FunctionCallInfo fcinfo, EvsProjection *projection)
{
	ListCell   *cell;

	declare_tables(fcinfo, projection);
	evs_statement_check(projection->definition);
	projection->event_tables = evs_statement_event_tables(projection->definition, projection->event_table);
	foreach(cell, projection->event_tables)
		evs_projection_check_reader(lfirst_oid(cell), projection->owner);
	evs_projection_insert(projection, NULL);
}

/* Declare a handler projection. Call inside SPI. */
static void
declare_handler(FunctionCallInfo fcinfo, EvsProjection *projection)
{
	char	   *select;

	declare_tables(fcinfo, projection);
	select = PG_ARGISNULL(ARG_HANDLERS) ?
		evs_handler_compile(projection->definition, projection->event_table) :
		evs_handlers_compile(PG_GETARG_JSONB_P(ARG_HANDLERS), projection->event_table);
	/* It names what it uses in full, and is tried as the owner that it will run as. */
	evs_statement_check(select);
	evs_projection_insert(projection, select);
}

/* The kind that the arguments declare. */
static EvsProjectionKind
declared_kind(FunctionCallInfo fcinfo)
{
	if (!PG_ARGISNULL(ARG_QUERY))
		return EVS_QUERY;
	return PG_ARGISNULL(ARG_STATEMENT) ? EVS_HANDLER : EVS_STATEMENT;
}

/* What was declared, as text. */
static char *
declared_definition(FunctionCallInfo fcinfo)
{
	if (!PG_ARGISNULL(ARG_HANDLERS))
		return JsonbToCString(NULL, &PG_GETARG_JSONB_P(ARG_HANDLERS)->root, 0);
	return text_argument(fcinfo, !PG_ARGISNULL(ARG_QUERY) ? ARG_QUERY :
						 !PG_ARGISNULL(ARG_STATEMENT) ? ARG_STATEMENT : ARG_HANDLER);
}

PG_FUNCTION_INFO_V1(evs_create_projection);
PG_FUNCTION_INFO_V1(evs_drop_projection);
PG_FUNCTION_INFO_V1(evs_pause_projection);
PG_FUNCTION_INFO_V1(evs_resume_projection);

/* evstore.create_projection(name, query, statement, handler, handlers, mode, read_table, event_table, its settings, read_tables, shards) */
Datum
evs_create_projection(PG_FUNCTION_ARGS)
{
	EvsProjection projection = {0};
	ErrorContextCallback context;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.create_projection()");
	projection.name = text_argument(fcinfo, ARG_NAME);
	check_name(projection.name);
	check_arguments(fcinfo);
	projection.kind = declared_kind(fcinfo);
	projection.definition = declared_definition(fcinfo);
	projection.owner = GetUserId();
	projection.batch_size = projection.kind == EVS_HANDLER ? HANDLER_BATCH_SIZE : BATCH_SIZE;

	context.callback = evs_declare_definition_context;
	context.arg = projection.definition;
	context.previous = error_context_stack;
	error_context_stack = &context;
	SPI_connect();
	switch (projection.kind)
	{
		case EVS_QUERY:
			declare_query(fcinfo, &projection);
			break;
		case EVS_STATEMENT:
			declare_statement(fcinfo, &projection);
			break;
		case EVS_HANDLER:
			declare_handler(fcinfo, &projection);
			break;
	}
	evs_steer_set(projection.id, fcinfo, ARG_SETTINGS);
	evs_shards_set(projection.id, PG_ARGISNULL(ARG_SHARDS) ? 1 : PG_GETARG_INT32(ARG_SHARDS));
	evs_steer_check_parking(evs_projection_load(projection.id));
	/* What there is already is applied here and now. */
	if (evs_mode_parse(text_argument(fcinfo, ARG_MODE)))
		evs_mode_enter_inline(projection.id);
	SPI_finish();
	error_context_stack = context.previous;
	PG_RETURN_VOID();
}

/* The id of a projection that the caller may steer, by the first argument. */
int
evs_projection_own(FunctionCallInfo fcinfo, const char *function)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	evs_shmem_require();
	PreventCommandIfReadOnly(function);
	return evs_projection_find_own(name);
}

/*
 * Keep workers from a projection and its rebuild: whatever a batch, or putting
 * the rebuild in place, has locked, and in which order, need not be known then.
 */
static void
lock_modes(int id)
{
	List	   *ids = evs_shards_list(id);
	int			rebuild = evs_rebuild_find(id);

	(void) evs_shards_lock_modes(rebuild == 0 ? ids : lappend_int(ids, rebuild), true);
}

/*
 * Keep those who append out of the tables of a query, and readers if the tables
 * are to go. Who appends locks the stored table first and reads the projection's
 * view then, and who reads the read table locks that before the one behind it:
 * whoever took them the other way round would meet them halfway.
 */
static void
lock_tables(const EvsProjection *projection, bool keep_table)
{
	LOCKMODE	mode = keep_table ? ShareRowExclusiveLock : AccessExclusiveLock;

	if (projection->read_table != projection->state_table)
		LockRelationOid(projection->read_table, mode);
	LockRelationOid(projection->state_table, mode);
}

/*
 * Does the caller own the tables of a query, or is one of them left to another
 * role that it was given to? That must not keep a projection from being dropped.
 */
static bool
owns_tables(const EvsProjection *projection)
{
	Oid			tables[] = {projection->read_table, projection->state_table};

	for (int i = 0; i < lengthof(tables); i++)
	{
		char	   *name = get_rel_name(tables[i]);

		if (name == NULL || EVS_OWNS_TABLE(tables[i], GetUserId()))
			continue;
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("the read table of projection \"%s\" is not dropped", projection->name),
				 errdetail("\"%s\" belongs to another role.", name)));
		return false;
	}
	return true;
}

/* Drop a table or view of a query's, or keep it as one that nobody keeps. */
static void
release(const EvsProjection *projection, Oid relid, const char *kind, bool keep_table)
{
	char	   *name = get_rel_name(relid);
	char	   *said;

	if (name == NULL)
		return;
	if (!keep_table)
	{
		execute(psprintf("DROP %s %s", kind,
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name)));
		return;
	}
	/* The comment is ours, whosever the table is by now. */
	said = GetComment(relid, RelationRelationId, 0);
	if (said && strcmp(said, purpose_of(projection)) == 0)
		CreateComments(relid, RelationRelationId, 0, NULL);
}

/* Drop a projection that is kept from workers. Call inside SPI. */
static void
drop(const EvsProjection *projection, bool keep_table)
{
	/* Who appends to an inline one has it applied, or finds it gone. */
	if (projection->is_inline)
		evs_writers_keep_out(projection->event_tables);
	if (projection->kind == EVS_QUERY)
	{
		keep_table = keep_table || !owns_tables(projection);
		lock_tables(projection, keep_table);
	}
	(void) evs_rebuild_discard(projection->id, true);
	evs_projection_delete(projection);
	if (projection->kind == EVS_QUERY)
	{
		if (projection->read_table != projection->state_table)
			release(projection, projection->read_table, "VIEW", keep_table);
		release(projection, projection->state_table, "TABLE", keep_table);
	}
	if (projection->is_inline)
		evs_mode_tidy(projection->event_tables);
}

/* evstore.drop_projection(name, keep_table) */
Datum
evs_drop_projection(PG_FUNCTION_ARGS)
{
	int			id = evs_projection_own(fcinfo, "evstore.drop_projection()");
	EvsProjection *projection;

	/* Nobody begins to rebuild it meanwhile. */
	evs_declare_lock_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SPI_connect();
	lock_modes(id);
	projection = evs_projection_load(id);
	if (projection)
		drop(projection, PG_GETARG_BOOL(1));
	SPI_finish();
	PG_RETURN_VOID();
}

/* evstore.pause_projection(name) */
Datum
evs_pause_projection(PG_FUNCTION_ARGS)
{
	int			id = evs_projection_own(fcinfo, "evstore.pause_projection()");

	SPI_connect();
	evs_projection_pause(id, true);
	SPI_finish();
	PG_RETURN_VOID();
}

/* evstore.resume_projection(name) */
Datum
evs_resume_projection(PG_FUNCTION_ARGS)
{
	int			id = evs_projection_own(fcinfo, "evstore.resume_projection()");

	SPI_connect();
	evs_projection_pause(id, false);
	SPI_finish();
	PG_RETURN_VOID();
}
