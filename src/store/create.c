/*
 * create.c
 *		Making, protecting and dropping event tables.
 *
 * All of it is SQL that the caller could have typed, run with the caller's
 * rights; what is special about an event table is its triggers.
 */
#include "evstore.h"

#include "access/table.h"
#include "base/called.h"
#include "base/owner.h"
#include "base/shmem.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "store/guard.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

/* Name of the batch view beside an event table. */
#define BATCH_VIEW_PREFIX "new_"

/* Run one utility statement. */
static void
execute(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

/* Fire the guard's triggers in every session, whatever its replication role. */
static void
create_guard(const char *table)
{
	execute(psprintf("CREATE TRIGGER " EVS_TRIGGER_GUARD " BEFORE UPDATE OR DELETE OR TRUNCATE ON %s"
					 " FOR EACH STATEMENT EXECUTE FUNCTION evstore._guard()", table));
	execute(psprintf("CREATE TRIGGER " EVS_TRIGGER_GUARD_ROW " BEFORE UPDATE OR DELETE ON %s"
					 " FOR EACH ROW EXECUTE FUNCTION evstore._guard()", table));
	execute(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER " EVS_TRIGGER_GUARD
					 ", ENABLE ALWAYS TRIGGER " EVS_TRIGGER_GUARD_ROW, table));
}

PG_FUNCTION_INFO_V1(evs_create_event_table);
PG_FUNCTION_INFO_V1(evs_drop_event_table);
PG_FUNCTION_INFO_V1(evs_protect);

/* evstore.create_event_table(name) */
Datum
evs_create_event_table(PG_FUNCTION_ARGS)
{
	List	   *names = EVS_QUALIFIED_NAME(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	RangeVar   *name = makeRangeVarFromNameList(names);
	Oid			schema;
	char	   *schema_name;
	char	   *view_name;
	const char *table;
	const char *view;
	EvsOwnerFrame frame;

	evs_shmem_require();
	schema = RangeVarGetCreationNamespace(name);
	schema_name = get_namespace_name(schema);
	view_name = psprintf(BATCH_VIEW_PREFIX "%s", name->relname);
	table = quote_qualified_identifier(schema_name, name->relname);
	view = quote_qualified_identifier(schema_name, view_name);

	if (strlen(view_name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("event table name \"%s\" is too long", name->relname),
				 errdetail("Its batch view would be named \"%s\".", view_name)));
	if (isAnyTempNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("an event table cannot be temporary")));

	SPI_connect();
	evs_owner_begin(&frame, GetUserId(), NULL);
	execute(psprintf("CREATE TABLE %s ("
					 "\"position\" bigint NOT NULL, version bigint,"
					 " recorded_at timestamptz NOT NULL, schema_version integer NOT NULL, id uuid,"
					 " stream text COLLATE pg_catalog.\"C\","
					 " type text COLLATE pg_catalog.\"C\" NOT NULL,"
					 " data jsonb NOT NULL, metadata jsonb, tags text[],"
					 " PRIMARY KEY (\"position\"), UNIQUE (stream, version))", table));
	execute(psprintf("CREATE UNIQUE INDEX ON %s (id) WHERE id IS NOT NULL", table));
	/* Who looks for a tag must find it at once: no list of entries that are still to be sorted in. */
	execute(psprintf("CREATE INDEX ON %s USING gin (tags) WITH (fastupdate = off) WHERE tags IS NOT NULL", table));
	execute(psprintf("CREATE TRIGGER " EVS_TRIGGER_INSERT " BEFORE INSERT ON %s"
					 " FOR EACH ROW EXECUTE FUNCTION evstore._insert()", table));
	execute(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER " EVS_TRIGGER_INSERT, table));
	create_guard(table);

	/*
	 * Readable by all, as far as they may read the table itself: a batch is
	 * applied with the rights of the projection's owner.
	 */
	execute(psprintf("CREATE VIEW %s WITH (security_invoker = true) AS SELECT * FROM %s"
					 " WHERE \"position\" > evstore._batch_from() AND \"position\" <= evstore._batch_to()",
					 view, table));
	execute(psprintf("GRANT SELECT ON %s TO PUBLIC", view));
	execute(psprintf("COMMENT ON VIEW %s IS %s", view,
					 quote_literal_cstr(psprintf("the events of the batch that a projection over %s applies; empty at any other time",
												 name->relname))));
	evs_owner_end(&frame);
	SPI_finish();

	PG_RETURN_OID(get_relname_relid(name->relname, schema));
}

/* Drop the batch view of an event table, wherever and whatever it is called by now. */
static void
drop_batch_view(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};

	if (SPI_execute_with_args("SELECT DISTINCT r.ev_class::regclass::text FROM pg_rewrite r"
							  " JOIN pg_depend t ON t.classid = 'pg_rewrite'::regclass AND t.objid = r.oid"
							  "  AND t.refclassid = 'pg_class'::regclass AND t.refobjid = $1"
							  " JOIN pg_depend f ON f.classid = 'pg_rewrite'::regclass AND f.objid = r.oid"
							  "  AND f.refclassid = 'pg_proc'::regclass"
							  "  AND f.refobjid = 'evstore._batch_from()'::regprocedure"
							  " JOIN pg_class c ON c.oid = r.ev_class"
							  " WHERE c.relnamespace <> 'evstore'::regnamespace",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not find the batch view");
	if (SPI_processed > 0)
		execute(psprintf("DROP VIEW %s", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)));
}

/* evstore.drop_event_table(event_table) */
Datum
evs_drop_event_table(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel;
	const char *table;
	EvsOwnerFrame frame;

	/* Who may not drop it must not lock it, either. */
	evs_called_check_table_owner(relid);
	(void) evs_table_open(relid, AccessExclusiveLock, &rel);
	table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									   RelationGetRelationName(rel));
	evs_table_close(rel);
	evs_called_check_table_owner(relid);
	evs_guard_check_drop(relid);

	SPI_connect();
	evs_owner_begin(&frame, GetUserId(), NULL);
	drop_batch_view(relid);
	execute(psprintf("DROP TABLE %s", table));
	evs_owner_end(&frame);
	SPI_finish();
	PG_RETURN_VOID();
}

/* The type that a table was made OF, InvalidOid if it is an ordinary one. */
static Oid
get_rel_type_of(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			type = rel->rd_rel->reloftype;

	table_close(rel, NoLock);
	return type;
}

/* Has a table a column, or array, of a type whose attributes can be dropped? */
static bool
has_composite_column(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	bool		found = false;

	for (int i = 0; i < desc->natts && !found; i++)
	{
		Oid			type = TupleDescAttr(desc, i)->atttypid;

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		if (OidIsValid(get_element_type(type)))
			type = get_element_type(type);
		found = get_typtype(getBaseType(type)) == TYPTYPE_COMPOSITE;
	}
	table_close(rel, NoLock);
	return found;
}

/* evstore.protect(target) */
Datum
evs_protect(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);

	evs_shmem_require();
	evs_called_check_table_owner(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	evs_called_check_table_owner(relid);
	if (get_rel_relkind(relid) != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an ordinary table", get_rel_name(relid))));
	if (get_rel_persistence(relid) != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a permanent table", get_rel_name(relid)),
				 errdetail("A crash, or the end of the session, would empty it.")));
	if (OidIsValid(get_rel_type_of(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a typed table", get_rel_name(relid)),
				 errdetail("Changing its type would change its rows.")));
	if (has_subclass(relid) || has_superclass(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" takes part in inheritance", get_rel_name(relid)),
				 errdetail("Rows of its parents and children would not be guarded.")));
	if (has_composite_column(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" has a column of a composite type", get_rel_name(relid)),
				 errdetail("Changing the type would change its rows.")));
	if (evs_table_is_guarded(relid))
		PG_RETURN_VOID();

	SPI_connect();
	create_guard(quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
											get_rel_name(relid)));
	SPI_finish();
	PG_RETURN_VOID();
}
