/*
 * handler.c
 *		Turning the handler of a projection into the statement of a batch.
 *
 * A handler is a function that is called once for every event, in the order of
 * their positions, or a map from event types to such functions. The statement
 * calls them from its select list, reading the events by their primary key:
 *
 *		SELECT position, f(event) IS NULL FROM events WHERE (in the batch) ORDER BY position
 *
 * IS NULL makes a column of whatever the function returns, void included, and
 * lets it go. The function is VOLATILE, so that it sees what it did for the
 * events before, and so that the planner neither moves nor leaves out a call.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/catalog.h"
#include "catalog/pg_proc.h"
#include "lib/stringinfo.h"
#include "parser/parse_func.h"
#include "project/handler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* An event as a handler takes it, from a row of the event table named e, noted as the cause of what it does. */
#define EVENT \
	"evstore._handling(ROW(e.\"position\", e.version, e.recorded_at, e.schema_version, e.id, e.stream, e.type," \
	" e.data, e.metadata, e.tags)::evstore.event, e.\"position\", e.id, e.metadata)"

/* The function of a name, with or without its argument. */
static Oid
find_function(const char *name)
{
	Oid			argument = evs_catalog()->event_type;

	if (strchr(name, '(') != NULL)
		return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	return LookupFuncName(EVS_QUALIFIED_NAME(name), 1, &argument, false);
}

/* Refuse a function that cannot handle events. */
static void
check_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	const char *wrong = NULL;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prokind != PROKIND_FUNCTION)
		wrong = "It is not a plain function.";
	else if (form->pronargs != 1 || form->proargtypes.values[0] != evs_catalog()->event_type)
		wrong = "It must take one argument of type evstore.event.";
	else if (form->proretset)
		wrong = "It returns a set.";
	else if (form->provolatile != PROVOLATILE_VOLATILE)
		wrong = "It is not VOLATILE, so it could neither write nor see what it wrote.";
	ReleaseSysCache(tuple);
	if (wrong)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot handle events", format_procedure(function)),
				 errdetail("%s", wrong)));
}

/* The call of a function, as a column. */
static char *
call(const char *name)
{
	Oid			function = find_function(name);

	check_function(function);
	return psprintf("%s(" EVENT ") IS NULL",
					quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
											   get_func_name(function)));
}

/* The whole statement: a column that calls, and which events of the batch it is for. */
static char *
statement(const char *column, const char *condition, Oid event_table)
{
	return psprintf("SELECT e.\"position\", %s AS handled FROM %s e"
					" WHERE e.\"position\" > evstore._batch_from() AND e.\"position\" <= evstore._batch_to()%s"
					" ORDER BY e.\"position\"",
					column,
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(event_table)),
											   get_rel_name(event_table)),
					condition);
}

/* Compile one function for all events, or refuse it. */
char *
evs_handler_compile(const char *handler, Oid event_table)
{
	return statement(call(handler), "", event_table);
}

/* Compile a map from event types to functions, or refuse it. */
char *
evs_handlers_compile(Jsonb *handlers, Oid event_table)
{
	StringInfoData column;
	StringInfoData types;
	JsonbIterator *iterator = JsonbIteratorInit(&handlers->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *type = NULL;

	initStringInfo(&column);
	initStringInfo(&types);
	if (JB_ROOT_IS_OBJECT(handlers))
		while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				type = quote_literal_cstr(pnstrdup(value.val.string.val, value.val.string.len));
			if (token != WJB_VALUE)
				continue;
			if (value.type != jbvString)
				break;
			appendStringInfo(&column, " WHEN %s THEN %s", type,
							 call(pnstrdup(value.val.string.val, value.val.string.len)));
			appendStringInfo(&types, "%s%s", types.len > 0 ? ", " : "", type);
			type = NULL;
		}
	if (types.len == 0 || type != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handlers must be a JSON object from event types to function names"),
				 errhint("For example: {\"OrderPlaced\": \"on_order_placed\"}.")));
	return statement(psprintf("CASE e.type%s END", column.data),
					 psprintf(" AND e.type IN (%s)", types.data), event_table);
}
