/*
 * upcaster.c
 *		Declaring upcasters: create_upcaster(), drop_upcaster().
 *
 * An upcaster decides what every projection of the table reads, so it is the
 * table's owner who declares it. It is declared behind the last of its type, and
 * dropped from there: so a chain has never a gap.
 *
 * Nobody may apply a batch while what it reads is changed, nor declare another
 * projection. Locks are taken in the order of mode.c: after the source's, the
 * modes of all projections of the table, then the table, then their views. Shards
 * are brought to one position before the table is locked: as with a batch, only
 * what applies this very projection waits for that, and it has no mode.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/called.h"
#include "base/catalog.h"
#include "base/errors.h"
#include "base/owner.h"
#include "base/shmem.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "project/bounds.h"
#include "project/mode.h"
#include "project/shards.h"
#include "project/source.h"
#include "store/event.h"
#include "store/shape.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* So many events are upcast before an upcaster is taken. */
#define TRIED_OUT 1000

/* Refuse a function that cannot upcast. */
static void
check_function(Oid function)
{
	Oid			event = evs_catalog()->event_type;
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	Oid			argument;
	const char *wrong = NULL;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	argument = form->pronargs == 1 ? form->proargtypes.values[0] : InvalidOid;
	if (form->prokind != PROKIND_FUNCTION)
		wrong = "It is not a plain function.";
	else if (argument != JSONBOID && argument != event)
		wrong = "It must take one argument, data in jsonb or an evstore.event.";
	else if (form->prorettype != argument)
		wrong = "It must return what it takes: data for data, or an event, or several, for an event.";
	else if (form->proretset && argument != event)
		wrong = "It returns a set of data, and an event has data once.";
	else if (form->provolatile == PROVOLATILE_VOLATILE)
		wrong = "It is VOLATILE, so an event could be another each time that it is read.";
	ReleaseSysCache(tuple);
	if (wrong)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot upcast events", format_procedure(function)),
				 errdetail("%s", wrong)));
	evs_called_check_may_call(function, GetUserId());
}

/* The function that upcasts. */
static Oid
find_function(const char *name)
{
	Oid			of_data;
	Oid			of_events;

	if (strchr(name, '(') != NULL)
		return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	of_data = evs_called_find_function(name, 1, 0, JSONBOID, PROKIND_FUNCTION);
	of_events = evs_called_find_function(name, 1, 0, evs_catalog()->event_type, PROKIND_FUNCTION);
	if (OidIsValid(of_data) && OidIsValid(of_events))
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("function name \"%s\" is not unique", name),
				 errhint("Give the type of its argument as well, as in %s.", format_procedure(of_data))));
	if (!OidIsValid(of_data) && !OidIsValid(of_events))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("there is no function \"%s\" of data or of events", name),
				 errhint("Write a function (jsonb) that returns jsonb, or one (evstore.event) that returns evstore.event or SETOF evstore.event.")));
	return OidIsValid(of_data) ? of_data : of_events;
}

/*
 * Keep batches from being applied, and events from being added, while what is
 * read is changed; and events from being read, if the view is that shows them.
 * Who reads has the table before the view, and so waits, or is waited for, there
 * and not in a circle. Call inside SPI.
 */
static EvsTable *
lock_all(Oid event_table, Oid added, const text *type, int dropped, Relation *rel)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(event_table)};
	SPITupleTable *projections;
	bool		isnull;

	if (evs_bounds() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change upcasters while a projection is being applied")));
	evs_source_lock(event_table, true);
	evs_owner_run_extension("SELECT id FROM evstore._projection"
							" WHERE event_table::oid = $1 OR $1 = ANY (event_tables::oid[]) ORDER BY id",
							lengthof(types), types, values, NULL, SPI_OK_SELECT);
	projections = SPI_tuptable;
	for (uint64 i = 0; i < projections->numvals; i++)
		(void) evs_mode_lock(DatumGetInt32(SPI_getbinval(projections->vals[i], projections->tupdesc, 1, &isnull)), true);
	/* Shards may be far apart, and whoever appends need not wait for that. */
	for (uint64 i = 0; i < projections->numvals; i++)
		evs_shards_align(DatumGetInt32(SPI_getbinval(projections->vals[i], projections->tupdesc, 1, &isnull)));
	return evs_table_open(event_table, evs_source_will_change(event_table, added, type, dropped) ?
						  AccessExclusiveLock : ShareRowExclusiveLock, rel);
}

/* Say which projections hold events in older shapes. Call inside SPI. */
static void
notice_rebuilds(Oid event_table)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(event_table)};
	bool		isnull;
	Datum		names;

	evs_owner_run_extension("SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('\"%s\"', p.name), ', ')"
							" FROM evstore._projection p JOIN evstore._checkpoint c ON c.projection = p.id"
							" WHERE p.rebuilds IS NULL AND c.\"position\" > 0 AND p.name NOT LIKE '\\_snapshots\\_%'"
							"  AND (p.event_table::oid = $1 OR $1 = ANY (p.event_tables::oid[]))",
							lengthof(types), types, values, NULL, SPI_OK_SELECT);
	names = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		ereport(NOTICE,
				(errmsg("projections have applied events in the shapes they had before: %s", TextDatumGetCString(names)),
				 errhint("Rebuild those to which it matters with evstore.rebuild_projection().")));
}

/* Arguments of create_upcaster() and drop_upcaster(). */
enum
{
	ARG_TYPE, ARG_FROM, ARG_FUNCTION, ARG_TABLE, DROP_ARG_TABLE = ARG_FUNCTION
};

/* The version that is upcast, as an argument; the type is checked as well. */
static int
from_argument(FunctionCallInfo fcinfo)
{
	evs_event_check_type(PG_ARGISNULL(ARG_TYPE) ? NULL : PG_GETARG_TEXT_PP(ARG_TYPE));
	if (PG_ARGISNULL(ARG_FROM))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("from_version must not be null")));
	return evs_event_check_schema_version(PG_GETARG_INT32(ARG_FROM));
}

/* Refuse an upcaster that does not begin where the last one of its type ends. */
static void
check_link(const EvsShapes *shapes, const text *type, int from)
{
	int			newest = shapes ? evs_shapes_newest(shapes, type) : EVS_FIRST_SCHEMA_VERSION;

	if (from < newest)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is an upcaster from version %d of event type \"%s\" already", from, text_to_cstring(type)),
				 errhint("Replace its function with CREATE OR REPLACE FUNCTION.")));
	if (from > newest)
		ereport(ERROR,
				(errcode(ERRCODE_EVS_NO_SCHEMA_VERSION),
				 errmsg("event type \"%s\" has no version %d", text_to_cstring(type), from),
				 errdetail("There is no upcaster from version %d.", newest),
				 errhint("Create the upcasters of a type one after the other: without a link, events of older versions could not be read.")));
}

/* Add the row. Returns its id; *source is set to that of the view of the table. Call inside SPI. */
static int
insert_row(FunctionCallInfo fcinfo, Oid event_table, int *source)
{
	Oid			types[] = {OIDOID, TEXTOID, INT4OID, OIDOID, TEXTARRAYOID};
	Datum		values[] = {
		ObjectIdGetDatum(event_table), PG_GETARG_DATUM(ARG_TYPE), PG_GETARG_DATUM(ARG_FROM),
		ObjectIdGetDatum(GetUserId()), PointerGetDatum(evs_owner_capture_search_path()),
	};
	bool		isnull;

	evs_owner_run_extension("WITH new AS (SELECT pg_catalog.nextval('evstore._shape_id')::integer AS id)"
							" INSERT INTO evstore._upcaster (event_table, type, from_version, id, owner, settings, source)"
							" SELECT $1::regclass, $2, $3, id, $4::regrole, $5,"
							"  coalesce((SELECT pg_catalog.min(source) FROM evstore._upcaster WHERE event_table::oid = $1), id)"
							" FROM new RETURNING id, source",
							lengthof(types), types, values, NULL, SPI_OK_INSERT_RETURNING);
	*source = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Make the view that keeps the function; its text is ours, but for names. Call inside SPI. */
static void
create_function_view(int id, Oid function)
{
	Oid		   *types;
	int			count;

	(void) get_func_signature(function, &types, &count);
	evs_owner_run_extension(psprintf("CREATE VIEW evstore._upcaster_%d AS SELECT %s(NULL::%s) AS upcast", id,
									 quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
																get_func_name(function)),
									 types[0] == JSONBOID ? "jsonb" : "evstore.event"),
							0, NULL, NULL, NULL, SPI_OK_UTILITY);
}

/*
 * Read some events of the type in their newest shape: what goes wrong with them
 * shall go wrong now. False if there are none. Call inside SPI.
 */
static bool
try_out(FunctionCallInfo fcinfo, Oid source)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(ARG_TYPE)};
	char	   *sql = psprintf("SELECT e.type, e.data FROM evstore.%s e WHERE e.written_type OPERATOR(pg_catalog.=) $1 LIMIT %d",
							   get_rel_name(source), TRIED_OUT);

	if (SPI_execute_with_args(sql, lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not try out an upcaster");
	return SPI_processed > 0;
}

PG_FUNCTION_INFO_V1(evs_create_upcaster);
PG_FUNCTION_INFO_V1(evs_drop_upcaster);

/* evstore.create_upcaster(type, from_version, function, event_table) */
Datum
evs_create_upcaster(PG_FUNCTION_ARGS)
{
	int			from = from_argument(fcinfo);
	char	   *name = evs_called_text(fcinfo, ARG_FUNCTION, "the function");
	Oid			event_table = evs_table_argument(fcinfo, ARG_TABLE);
	Oid			function;
	Relation	rel;
	int			id;
	int			source_id;
	Oid			source;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.create_upcaster()");
	/* Who may not declare it must not lock it, either. */
	evs_called_check_table_owner(event_table);
	function = find_function(name);
	check_function(function);

	SPI_connect();
	check_link(lock_all(event_table, function, PG_GETARG_TEXT_PP(ARG_TYPE), from, &rel)->shapes,
			   PG_GETARG_TEXT_PP(ARG_TYPE), from);
	evs_called_check_table_owner(event_table);
	id = insert_row(fcinfo, event_table, &source_id);
	create_function_view(id, function);
	evs_table_close(rel);
	CommandCounterIncrement();
	source = evs_source_create(event_table, source_id);
	evs_source_redirect(event_table, source);
	if (try_out(fcinfo, source))
		notice_rebuilds(event_table);
	SPI_finish();
	PG_RETURN_VOID();
}

/* Refuse to drop an upcaster that another one, or an event type, goes on from. Call inside SPI. */
static void
check_is_last(const EvsShapes *shapes, const text *type, int from)
{
	EvsEventType *declared = shapes ? evs_shapes_event_type(shapes, type, from + 1) : NULL;

	if (shapes == NULL || evs_shapes_upcaster(shapes, type, from) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no upcaster from version %d of event type \"%s\"", from, text_to_cstring(type))));
	if (evs_shapes_upcaster(shapes, type, from + 1) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop the upcaster from version %d of event type \"%s\"", from, text_to_cstring(type)),
				 errdetail("There is one from version %d.", from + 1),
				 errhint("Drop the upcasters of a type from the last one on.")));
	if (declared != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop the upcaster from version %d of event type \"%s\"", from, text_to_cstring(type)),
				 errdetail("Version %d of the type is declared.", from + 1),
				 errhint("Drop that with evstore.drop_event_type() first.")));
}

/* evstore.drop_upcaster(type, from_version, event_table) */
Datum
evs_drop_upcaster(PG_FUNCTION_ARGS)
{
	int			from = from_argument(fcinfo);
	Oid			event_table = evs_table_argument(fcinfo, DROP_ARG_TABLE);
	Oid			types[] = {OIDOID, TEXTOID, INT4OID};
	Datum		values[] = {ObjectIdGetDatum(event_table), PG_GETARG_DATUM(ARG_TYPE), PG_GETARG_DATUM(ARG_FROM)};
	Oid			source;
	int			source_id;
	Relation	rel;
	bool		isnull;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.drop_upcaster()");
	evs_called_check_table_owner(event_table);
	SPI_connect();
	check_is_last(lock_all(event_table, InvalidOid, PG_GETARG_TEXT_PP(ARG_TYPE), from, &rel)->shapes,
				  PG_GETARG_TEXT_PP(ARG_TYPE), from);
	evs_called_check_table_owner(event_table);
	source = evs_source_find(event_table);
	evs_owner_run_extension("DELETE FROM evstore._upcaster"
							" WHERE event_table::oid = $1 AND type = $2 AND from_version = $3 RETURNING id, source",
							lengthof(types), types, values, NULL, SPI_OK_DELETE_RETURNING);
	source_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	evs_called_drop_view(psprintf("_upcaster_%d", DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull))));
	evs_table_close(rel);
	CommandCounterIncrement();
	if (OidIsValid(evs_source_find(event_table)))
		(void) evs_source_create(event_table, source_id);
	else
		evs_source_drop(event_table, source);
	notice_rebuilds(event_table);
	SPI_finish();
	PG_RETURN_VOID();
}
