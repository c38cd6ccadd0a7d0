/*
 * event_type.c
 *		Declaring event types: create_event_type(), drop_event_type().
 *
 * Only the owner of an event table says what its events must be. Writers are
 * kept out of the table while that changes: every event that is added after the
 * declaration has committed was checked by it.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/called.h"
#include "base/errors.h"
#include "base/owner.h"
#include "base/shmem.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_type.h"
#include "store/event.h"
#include "store/shape.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* Arguments of create_event_type(). */
enum
{
	ARG_TYPE, ARG_VERSION, ARG_CHECK, ARG_JSON_SCHEMA, ARG_TABLE
};

/* Functions by which extensions check JSON against a JSON Schema; those that tell what is wrong come first. */
static const char *const json_schema_functions[] = {
	"jsonschema_validation_errors", "jsonb_matches_schema", "is_jsonb_valid"
};

/* Can a function of so many arguments check data? NULL if so, else why not. */
static const char *
why_not(Form_pg_proc form, int count)
{
	if (form->prokind != PROKIND_FUNCTION)
		return "It is not a plain function.";
	if (form->pronargs != count)
		return count == 1 ? "It must take the data, in jsonb." : "It must take a JSON Schema and the data.";
	for (int i = 0; i < count; i++)
		if (form->proargtypes.values[i] != JSONBOID && form->proargtypes.values[i] != JSONOID)
			return "It must take jsonb or json.";
	if (form->proretset || (form->prorettype != BOOLOID && form->prorettype != TEXTARRAYOID))
		return "It must return boolean, or text[]: what is wrong.";
	if (form->provolatile == PROVOLATILE_VOLATILE)
		return "It is VOLATILE, so what it says of the same data could change.";
	return NULL;
}

/* Refuse a function that cannot check data. */
static void
check_function(Oid function, int count)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	const char *wrong;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	wrong = why_not((Form_pg_proc) GETSTRUCT(tuple), count);
	ReleaseSysCache(tuple);
	if (wrong)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot check the data of events", format_procedure(function)),
				 errdetail("%s", wrong)));
	evs_called_check_may_call(function, GetUserId());
}

/* How a view calls a function, or names a type, to keep it. */
static char *
call_of(Oid function, int count)
{
	Oid		   *types;
	int			total;
	char	   *name = quote_qualified_identifier(get_namespace_name(get_func_namespace(function)), get_func_name(function));

	(void) get_func_signature(function, &types, &total);
	if (count == 1)
		return psprintf("%s(NULL::%s)", name, format_type_be(types[0]));
	return psprintf("%s(NULL::%s, NULL::%s)", name, format_type_be(types[0]), format_type_be(types[1]));
}

/* A function that an installed extension offers for JSON Schema. */
static Oid
find_json_schema_function(void)
{
	for (int i = 0; i < lengthof(json_schema_functions); i++)
	{
		Oid			types[] = {TEXTOID};
		Datum		values[] = {CStringGetTextDatum(json_schema_functions[i])};
		bool		isnull;

		evs_owner_run_extension("SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_depend d"
								" ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'"
								" WHERE p.proname = $1 AND p.pronargs = 2 LIMIT 1",
								lengthof(types), types, values, NULL, SPI_OK_SELECT);
		if (SPI_processed > 0)
			return DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("no installed extension checks JSON against a JSON Schema"),
			 errhint("Install one, such as pg_jsonschema, or name a function (schema, data) in \"check\".")));
}

/* What the argument "check" names, as an expression that a view keeps. Call inside SPI. */
static char *
find_check(const char *name, bool has_json_schema)
{
	Oid			function;
	Oid			type;
	int32		typmod;

	if (has_json_schema)
	{
		Oid			json[] = {JSONBOID, JSONOID};

		function = name == NULL ? find_json_schema_function() : InvalidOid;
		if (name && strchr(name, '(') != NULL)
			function = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
		for (int i = 0; i < lengthof(json) && !OidIsValid(function); i++)
			function = evs_called_find_function(name, 2, 1, json[i], PROKIND_FUNCTION);
		if (!OidIsValid(function))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("there is no function \"%s\" of a JSON Schema and data", name)));
		check_function(function, 2);
		return call_of(function, 2);
	}

	function = strchr(name, '(') != NULL ?
		DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name))) :
		evs_called_find_function(name, 1, 0, JSONBOID, PROKIND_FUNCTION);
	if (OidIsValid(function))
	{
		check_function(function, 1);
		return call_of(function, 1);
	}
	parseTypeString(name, &type, &typmod, EVS_HARD_ERRORS);
	if (get_typtype(type) != TYPTYPE_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("type %s is not composite", format_type_be(type)),
				 errhint("The data of an event are an object: name a composite type, or a function that takes jsonb.")));
	/* Its domains' checks will run as the caller. */
	if (EVS_TYPE_ACLCHECK(type, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
		aclcheck_error_type(ACLCHECK_NO_PRIV, type);
	return psprintf("NULL::%s", format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY));
}

/* The schema version that an argument means. */
static int
version_argument(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? EVS_FIRST_SCHEMA_VERSION : evs_event_check_schema_version(PG_GETARG_INT32(argument));
}

/* The type that an argument names. */
static text *
type_argument(FunctionCallInfo fcinfo, int argument)
{
	text	   *type = PG_ARGISNULL(argument) ? NULL : PG_GETARG_TEXT_PP(argument);

	evs_event_check_type(type);
	return type;
}

/* Add the row, and say which id it has. Call inside SPI. */
static int
insert_row(FunctionCallInfo fcinfo, Oid event_table, int version, bool is_checked)
{
	Oid			types[] = {OIDOID, TEXTOID, INT4OID, OIDOID, TEXTARRAYOID, BOOLOID, JSONBOID};
	Datum		values[] = {
		ObjectIdGetDatum(event_table), PG_GETARG_DATUM(ARG_TYPE), Int32GetDatum(version), ObjectIdGetDatum(GetUserId()),
		PointerGetDatum(evs_owner_capture_search_path()), BoolGetDatum(is_checked), PG_GETARG_DATUM(ARG_JSON_SCHEMA),
	};
	const char	nulls[] = {' ', ' ', ' ', ' ', ' ', ' ', PG_ARGISNULL(ARG_JSON_SCHEMA) ? 'n' : ' ', '\0'};
	bool		isnull;

	evs_owner_run_extension("INSERT INTO evstore._event_type"
							" (event_table, type, schema_version, owner, settings, is_checked, json_schema)"
							" VALUES ($1::regclass, $2, $3, $4::regrole, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id",
							lengthof(types), types, values, nulls, SPI_OK_INSERT_RETURNING);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("version %d of event type \"%s\" is declared already", version,
						TextDatumGetCString(PG_GETARG_DATUM(ARG_TYPE)))));
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

PG_FUNCTION_INFO_V1(evs_create_event_type);
PG_FUNCTION_INFO_V1(evs_drop_event_type);

/* evstore.create_event_type(type, schema_version, check, json_schema, event_table) */
Datum
evs_create_event_type(PG_FUNCTION_ARGS)
{
	text	   *type = type_argument(fcinfo, ARG_TYPE);
	int			version = version_argument(fcinfo, ARG_VERSION);
	char	   *check = PG_ARGISNULL(ARG_CHECK) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(ARG_CHECK));
	bool		is_checked = check || !PG_ARGISNULL(ARG_JSON_SCHEMA);
	Oid			event_table = evs_table_argument(fcinfo, ARG_TABLE);
	Relation	rel;
	EvsTable   *table;
	int			newest;
	int			id;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.create_event_type()");
	/* Who may not declare it must not lock it, either. */
	evs_called_check_table_owner(event_table);
	table = evs_table_open(event_table, ShareRowExclusiveLock, &rel);
	evs_called_check_table_owner(event_table);
	newest = table->shapes ? evs_shapes_newest(table->shapes, type) : EVS_FIRST_SCHEMA_VERSION;
	if (version > newest)
		ereport(ERROR,
				(errcode(ERRCODE_EVS_NO_SCHEMA_VERSION),
				 errmsg("event type \"%s\" has no version %d", text_to_cstring(type), version),
				 errdetail("There is no upcaster from version %d.", newest),
				 errhint("Create it with evstore.create_upcaster(), so that events of the older versions can be read as this one.")));

	SPI_connect();
	if (is_checked)
		check = find_check(check, !PG_ARGISNULL(ARG_JSON_SCHEMA));
	id = insert_row(fcinfo, event_table, version, is_checked);
	if (is_checked)
		evs_owner_run_extension(psprintf("CREATE VIEW evstore._check_%d AS SELECT %s AS checked", id, check),
								0, NULL, NULL, NULL, SPI_OK_UTILITY);
	SPI_finish();
	evs_table_close(rel);
	PG_RETURN_VOID();
}

/* evstore.drop_event_type(type, schema_version, event_table) */
Datum
evs_drop_event_type(PG_FUNCTION_ARGS)
{
	text	   *type = type_argument(fcinfo, 0);
	int			version = version_argument(fcinfo, 1);
	Oid			event_table = evs_table_argument(fcinfo, 2);
	Oid			types[] = {OIDOID, TEXTOID, INT4OID};
	Datum		values[] = {ObjectIdGetDatum(event_table), PointerGetDatum(type), Int32GetDatum(version)};
	Relation	rel;
	bool		isnull;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.drop_event_type()");
	evs_called_check_table_owner(event_table);
	(void) evs_table_open(event_table, ShareRowExclusiveLock, &rel);
	evs_called_check_table_owner(event_table);
	SPI_connect();
	evs_owner_run_extension("DELETE FROM evstore._event_type"
							" WHERE event_table::oid = $1 AND type = $2 AND schema_version = $3 RETURNING id",
							lengthof(types), types, values, NULL, SPI_OK_DELETE_RETURNING);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("version %d of event type \"%s\" is not declared", version, text_to_cstring(type))));
	evs_called_drop_view(psprintf("_check_%d", DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull))));
	SPI_finish();
	evs_table_close(rel);
	PG_RETURN_VOID();
}
