/*
 * define.c
 *		Declaring and dropping aggregates: the SQL functions.
 *
 * Whoever loads a stream trusts what its aggregate makes of it, so only the
 * owner of an event table declares aggregates for it. The function then runs
 * with the declaring role's rights.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/called.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "base/shmem.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "domain/aggregate.h"
#include "domain/definition.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* Arguments of create_aggregate(). */
enum
{
	ARG_CATEGORY, ARG_APPLY, ARG_INITIAL, ARG_SNAPSHOT_EVERY, ARG_TABLE
};

/* What is to fold the events. */
typedef struct Apply
{
	Oid			function;
	bool		is_sql_aggregate;
	Oid			state_type;
} Apply;

/* The function of a name, (state, event), or the aggregate, (event). */
static Oid
find_by_name(const char *name)
{
	Oid			event = evs_catalog()->event_type;
	Oid			found = evs_called_find_function(name, 2, 1, event, PROKIND_FUNCTION);

	if (!OidIsValid(found))
		found = evs_called_find_function(name, 1, 0, event, PROKIND_AGGREGATE);
	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("no function or aggregate \"%s\" takes events", name),
				 errhint("Write a function (state, evstore.event) that returns the next state.")));
	return found;
}

/* What the argument "apply" names; anything that cannot fold events is refused. */
static Apply
find_apply(const char *name)
{
	Apply		apply;
	HeapTuple	tuple;
	Form_pg_proc form;
	const char *wrong = NULL;
	int			last;

	apply.function = strchr(name, '(') == NULL ? find_by_name(name) :
		DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(apply.function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", apply.function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	apply.is_sql_aggregate = form->prokind == PROKIND_AGGREGATE;
	apply.state_type = form->prorettype;
	last = apply.is_sql_aggregate ? 0 : 1;
	if (form->prokind != PROKIND_FUNCTION && form->prokind != PROKIND_AGGREGATE)
		wrong = "It is neither a plain function nor an aggregate.";
	else if (form->pronargs != last + 1 || form->proargtypes.values[last] != evs_catalog()->event_type)
		wrong = "A function takes a state and an evstore.event, an aggregate takes an evstore.event.";
	else if (form->proretset)
		wrong = "It returns a set.";
	else if (!apply.is_sql_aggregate && form->proargtypes.values[0] != form->prorettype)
		wrong = "It returns another type than that of the state it takes.";
	else if (get_typtype(form->prorettype) == TYPTYPE_PSEUDO)
		wrong = "Its state is of no definite type.";
	ReleaseSysCache(tuple);
	if (wrong)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot fold events", format_procedure(apply.function)),
				 errdetail("%s", wrong)));
	return apply;
}

/* Refuse an initial state that is none. */
static void
check_initial_state(const Apply *apply, const char *initial_state)
{
	EvsOwnerFrame frame;
	bool		isnull;

	if (apply->is_sql_aggregate && initial_state != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an aggregate of PostgreSQL's brings its own initial state")));
	evs_owner_begin(&frame, GetUserId(), NULL);
	(void) evs_aggregate_state_in(apply->state_type, initial_state, &isnull);
	evs_owner_end(&frame);
}

/* Make the view that keeps what the aggregate calls; its text is ours, but for names. */
static void
create_apply_view(int id, const Apply *apply)
{
	char	   *state = apply->is_sql_aggregate ? "" :
		psprintf("NULL::%s, ", format_type_extended(apply->state_type, -1, FORMAT_TYPE_FORCE_QUALIFY));

	evs_owner_run_extension(psprintf("CREATE VIEW evstore._apply_%d AS SELECT %s(%sNULL::evstore.event) AS state", id,
				 quote_qualified_identifier(get_namespace_name(get_func_namespace(apply->function)),
											get_func_name(apply->function)), state),
		0, NULL, NULL, NULL, SPI_OK_UTILITY);
}

/* Have a projection take snapshots: of every stream that a batch takes past a multiple of "every". */
static void
create_snapshots(int id, const char *category, Oid event_table, int every)
{
	char	   *schema = get_namespace_name(get_rel_namespace(event_table));
	char	   *view = psprintf("new_%s", get_rel_name(event_table));
	char	   *table = quote_qualified_identifier(schema, get_rel_name(event_table));
	Oid			types[] = {TEXTOID, TEXTOID, OIDOID};
	Datum		values[] = {
		CStringGetTextDatum(psprintf("_snapshots_%d", id)),
		CStringGetTextDatum(psprintf(
									 "SELECT evstore._take_snapshot(stream, %s) FROM (SELECT stream FROM %s"
									 " WHERE pg_catalog.split_part(stream, '-', 1) OPERATOR(pg_catalog.=) %s GROUP BY stream"
									 " HAVING (pg_catalog.max(version) OPERATOR(pg_catalog./) %d::bigint) OPERATOR(pg_catalog.>)"
									 " ((pg_catalog.min(version) OPERATOR(pg_catalog.-) 1::bigint) OPERATOR(pg_catalog./) %d::bigint)) s",
									 quote_literal_cstr(table), quote_qualified_identifier(schema, view),
									 quote_literal_cstr(category), every, every)),
		ObjectIdGetDatum(event_table),
	};

	if (SPI_execute_with_args("SELECT evstore.create_projection($1, statement => $2, event_table => $3::regclass)",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not create the projection of snapshots");
}

/* Add the row; 0 if there is one for this category already. Call inside SPI. */
static int
insert_row(FunctionCallInfo fcinfo, const char *category, Oid event_table, const char *initial_state)
{
	Oid			types[] = {OIDOID, TEXTOID, OIDOID, TEXTOID, TEXTARRAYOID, INT4OID};
	Datum		values[] = {
		ObjectIdGetDatum(event_table), CStringGetTextDatum(category), ObjectIdGetDatum(GetUserId()),
		initial_state ? CStringGetTextDatum(initial_state) : 0,
		PointerGetDatum(evs_owner_capture_settings(true)),
		PG_GETARG_DATUM(ARG_SNAPSHOT_EVERY),
	};
	const char	nulls[] = {' ', ' ', ' ', initial_state ? ' ' : 'n', ' ',
		PG_ARGISNULL(ARG_SNAPSHOT_EVERY) ? 'n' : ' ', '\0'};
	bool		isnull;

	evs_owner_run_extension("INSERT INTO evstore._aggregate (event_table, category, owner, initial_state, settings, snapshot_every)"
		" VALUES ($1::regclass, $2, $3::regrole, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING id",
		lengthof(types), types, values, nulls, SPI_OK_INSERT_RETURNING);
	return SPI_processed == 0 ? 0 :
		DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

PG_FUNCTION_INFO_V1(evs_create_aggregate);
PG_FUNCTION_INFO_V1(evs_drop_aggregate);
PG_FUNCTION_INFO_V1(evs_drop_snapshots);

/* evstore.create_aggregate(category, apply, initial_state, snapshot_every, event_table) */
Datum
evs_create_aggregate(PG_FUNCTION_ARGS)
{
	char	   *category = evs_definition_category(fcinfo, ARG_CATEGORY);
	char	   *initial_state = PG_ARGISNULL(ARG_INITIAL) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(ARG_INITIAL));
	Relation	rel;
	EvsTable   *table;
	Apply		apply;
	int			id;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.create_aggregate()");
	if (!PG_ARGISNULL(ARG_SNAPSHOT_EVERY) && PG_GETARG_INT32(ARG_SNAPSHOT_EVERY) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("snapshot_every must be at least 1")));
	table = evs_table_open(evs_table_argument(fcinfo, ARG_TABLE), AccessShareLock, &rel);
	evs_called_check_table_owner(table->relid);
	apply = find_apply(evs_called_text(fcinfo, ARG_APPLY, "apply"));
	evs_called_check_may_call(apply.function, GetUserId());
	check_initial_state(&apply, initial_state);
	if (apply.is_sql_aggregate && !PG_ARGISNULL(ARG_SNAPSHOT_EVERY))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot take snapshots of aggregate %s", format_procedure(apply.function)),
				 errdetail("Its result cannot be gone on with."),
				 errhint("Write a function (state, evstore.event) in its place.")));

	SPI_connect();
	id = insert_row(fcinfo, category, table->relid, initial_state);
	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("event table \"%s\" has an aggregate for category \"%s\" already",
						get_rel_name(table->relid), category)));
	create_apply_view(id, &apply);
	if (!PG_ARGISNULL(ARG_SNAPSHOT_EVERY))
		create_snapshots(id, category, table->relid, PG_GETARG_INT32(ARG_SNAPSHOT_EVERY));
	SPI_finish();
	evs_table_close(rel);
	PG_RETURN_VOID();
}

/* The id of the aggregate that the arguments name and the caller may change; *snapshots says whether it has any taken. */
static int
own_aggregate(FunctionCallInfo fcinfo, const char *function, bool *snapshots)
{
	char	   *category = evs_definition_category(fcinfo, 0);
	Oid			event_table = evs_table_argument(fcinfo, 1);
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(event_table), CStringGetTextDatum(category)};
	bool		isnull;
	Oid			owner;

	evs_shmem_require();
	PreventCommandIfReadOnly(function);
	evs_owner_run_extension("SELECT id, owner::oid, snapshot_every FROM evstore._aggregate WHERE event_table::oid = $1 AND category = $2",
		lengthof(types), types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("event table \"%s\" has no aggregate for category \"%s\"",
						get_rel_name(event_table), category)));
	owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	evs_called_check_owner(owner, "aggregate", category);
	(void) SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull);
	*snapshots = !isnull;
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* evstore.drop_aggregate(category, event_table) */
Datum
evs_drop_aggregate(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID};
	Datum		values[1];
	bool		snapshots;
	int			id;

	SPI_connect();
	id = own_aggregate(fcinfo, "evstore.drop_aggregate()", &snapshots);
	values[0] = Int32GetDatum(id);
	/* Somebody may have dropped the projection, and the function with CASCADE. */
	if (snapshots && SPI_execute(psprintf("SELECT evstore.drop_projection(name) FROM evstore.projections"
										  " WHERE name OPERATOR(pg_catalog.=) '_snapshots_%d'", id), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not drop the projection of snapshots");
	evs_called_drop_view(psprintf("_apply_%d", id));
	evs_owner_run_extension("DELETE FROM evstore._aggregate WHERE id = $1", 1, types, values, NULL, SPI_OK_DELETE);
	SPI_finish();
	PG_RETURN_VOID();
}

/* evstore.drop_snapshots(category, event_table) */
Datum
evs_drop_snapshots(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID};
	Datum		values[1];
	bool		snapshots;
	uint64		dropped;

	SPI_connect();
	values[0] = Int32GetDatum(own_aggregate(fcinfo, "evstore.drop_snapshots()", &snapshots));
	evs_owner_run_extension("DELETE FROM evstore._snapshot WHERE aggregate = $1", 1, types, values, NULL, SPI_OK_DELETE);
	dropped = SPI_processed;
	SPI_finish();
	PG_RETURN_INT64(dropped);
}
