/*
 * command.c
 *		Commands: what was declared, and asking it to decide.
 *
 * A command is a function (state, command) that returns the events to append,
 * or raises an error to refuse. It is the owner's code, and runs with the
 * owner's rights, whoever executes it. It may be asked again if somebody else
 * appends to the stream meanwhile, so it should do nothing but decide.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/called.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "base/shmem.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "domain/command.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* Read a command. */
static EvsDefinition *
read_command(const EvsDefinition *key)
{
	Oid			types[] = {OIDOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		ObjectIdGetDatum(key->event_table), CStringGetTextDatum(key->category), CStringGetTextDatum(key->name),
	};
	MemoryContext context = CurrentMemoryContext;
	EvsCommand *command = NULL;
	bool		is_aggregate;
	Oid			result;
	Oid		   *arguments;
	int			count;

	SPI_connect();
	evs_owner_run_extension("SELECT id, owner::oid, settings FROM evstore._command"
					   " WHERE event_table::oid = $1 AND category = $2 AND name = $3",
					   lengthof(types), types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		MemoryContextSwitchTo(context);
		command = palloc0_object(EvsCommand);
		command->definition.id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		command->definition.owner = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
		command->definition.settings = DatumGetArrayTypePCopy(SPI_getbinval(row, desc, 3, &isnull));
	}
	SPI_finish();
	if (command == NULL)
		return NULL;
	command->decide = evs_called_in_view(psprintf("_decide_%d", command->definition.id),
										 psprintf("command \"%s\"", key->name), &is_aggregate, &result);
	(void) get_func_signature(command->decide, &arguments, &count);
	command->state_type = arguments[0];
	return &command->definition;
}

/* The command of a name for a stream, which stays what it is until it is closed. */
const EvsCommand *
evs_command_open(Oid event_table, const text *stream, const char *name)
{
	EvsDefinition *definition = evs_definition_open(event_table, stream, name, read_command);

	if (definition == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("event table \"%s\" has no command \"%s\" for stream \"%s\"",
						get_rel_name(event_table), name, text_to_cstring(stream)),
				 errhint("Declare it for the stream's category, what stands before the first \"-\", with evstore.create_command().")));
	return (const EvsCommand *) definition;
}

/* The prepared call of a command's function. Call inside SPI. */
static SPIPlanPtr
prepare(const EvsCommand *command)
{
	EvsDefinition *definition = unconstify(EvsDefinition *, &command->definition);
	Oid			types[] = {command->state_type, JSONBOID};

	if (definition->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(psprintf("SELECT d.type, d.data, d.metadata, d.id, d.tags, d.schema_version FROM %s($1, $2) d",
												quote_qualified_identifier(get_namespace_name(get_func_namespace(command->decide)),
																		   get_func_name(command->decide))),
									   lengthof(types), types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare command \"%s\"", definition->name);
		definition->plan = plan;
	}
	return definition->plan;
}

/* An event of a row that a command's function returned, copied to the current memory context. */
static void
copy_event(EvsEvent *event, HeapTuple row, TupleDesc desc)
{
	Datum		values[6];
	bool		nulls[6];

	heap_deform_tuple(row, desc, values, nulls);
	event->type = nulls[0] ? NULL : DatumGetTextPCopy(values[0]);
	event->data = nulls[1] ? NULL : DatumGetJsonbPCopy(values[1]);
	event->metadata = nulls[2] ? NULL : DatumGetJsonbPCopy(values[2]);
	event->id = nulls[3] ? NULL : memcpy(palloc(sizeof(pg_uuid_t)), DatumGetUUIDP(values[3]), sizeof(pg_uuid_t));
	event->tags = nulls[4] ? NULL : DatumGetArrayTypePCopy(values[4]);
	event->schema_version = nulls[5] ? 0 : evs_event_check_schema_version(DatumGetInt32(values[5]));
	evs_event_check(event);
}

/* Have a command decide on a state: the events to append, which may be none. */
EvsEvent *
evs_command_decide(const EvsCommand *command, const EvsState *state, Jsonb *args, int *count)
{
	Datum		values[] = {state->value, JsonbPGetDatum(args)};
	const char	nulls[] = {state->isnull ? 'n' : ' ', args ? ' ' : 'n', '\0'};
	MemoryContext context = CurrentMemoryContext;
	EvsOwnerFrame frame;
	EvsEvent   *events;

	evs_called_check_may_call(command->decide, command->definition.owner);
	SPI_connect();
	evs_owner_begin(&frame, command->definition.owner, command->definition.settings);
	if (SPI_execute_plan(prepare(command), values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute command \"%s\"", command->definition.name);
	evs_owner_end(&frame);

	MemoryContextSwitchTo(context);
	*count = SPI_processed;
	events = palloc_array(EvsEvent, *count);
	for (int i = 0; i < *count; i++)
		copy_event(&events[i], SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_finish();
	return events;
}

/* The function that "decide" names; one that cannot is refused. */
static Oid
find_decide(const char *name)
{
	Oid			new_event = evs_catalog()->new_event_type;
	Oid			function;
	HeapTuple	tuple;
	Form_pg_proc form;
	const char *wrong = NULL;

	if (strchr(name, '(') != NULL)
		function = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	else
		function = evs_called_find_function(name, 2, 1, JSONBOID, PROKIND_FUNCTION);
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("no function \"%s\" decides commands", name),
				 errhint("Write a function (state, jsonb) that returns SETOF evstore.new_event.")));
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prokind != PROKIND_FUNCTION)
		wrong = "It is not a plain function.";
	else if (form->pronargs != 2 || form->proargtypes.values[1] != JSONBOID)
		wrong = "It must take a state and a command in jsonb.";
	else if (get_typtype(form->proargtypes.values[0]) == TYPTYPE_PSEUDO)
		wrong = "The state it takes is of no definite type.";
	else if (!form->proretset || form->prorettype != new_event)
		wrong = "It must return SETOF evstore.new_event.";
	ReleaseSysCache(tuple);
	if (wrong)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot decide commands", format_procedure(function)),
				 errdetail("%s", wrong)));
	evs_called_check_may_call(function, GetUserId());
	return function;
}

/* Make the view that keeps the function; its text is ours, but for names. */
static void
create_decide_view(int id, Oid function)
{
	Oid		   *arguments;
	int			count;

	(void) get_func_signature(function, &arguments, &count);
	evs_owner_run_extension(psprintf("CREATE VIEW evstore._decide_%d AS SELECT %s(NULL::%s, NULL::jsonb) AS decided", id,
								quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
														   get_func_name(function)),
								format_type_extended(arguments[0], -1, FORMAT_TYPE_FORCE_QUALIFY)),
					   0, NULL, NULL, NULL, SPI_OK_UTILITY);
}

PG_FUNCTION_INFO_V1(evs_create_command);
PG_FUNCTION_INFO_V1(evs_drop_command);

/* evstore.create_command(name, category, decide, event_table) */
Datum
evs_create_command(PG_FUNCTION_ARGS)
{
	char	   *name = evs_called_text(fcinfo, 0, "the name of a command");
	char	   *category = evs_definition_category(fcinfo, 1);
	char	   *decide = evs_called_text(fcinfo, 2, "decide");
	Relation	rel;
	EvsTable   *table = evs_table_open(evs_table_argument(fcinfo, 3), AccessShareLock, &rel);
	Oid			types[] = {OIDOID, TEXTOID, TEXTOID, OIDOID, TEXTARRAYOID};
	Datum		values[] = {
		ObjectIdGetDatum(table->relid), CStringGetTextDatum(category), CStringGetTextDatum(name),
		ObjectIdGetDatum(GetUserId()), PointerGetDatum(evs_owner_capture_settings(true)),
	};
	Oid			function;
	bool		isnull;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.create_command()");
	if (*name == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a command must not be empty")));
	evs_called_check_table_owner(table->relid);
	function = find_decide(decide);

	SPI_connect();
	evs_owner_run_extension("INSERT INTO evstore._command (event_table, category, name, owner, settings)"
					   " VALUES ($1::regclass, $2, $3, $4::regrole, $5) ON CONFLICT DO NOTHING RETURNING id",
					   lengthof(types), types, values, NULL, SPI_OK_INSERT_RETURNING);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("event table \"%s\" has a command \"%s\" for category \"%s\" already",
						get_rel_name(table->relid), name, category)));
	create_decide_view(DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)), function);
	SPI_finish();
	evs_table_close(rel);
	PG_RETURN_VOID();
}

/* evstore.drop_command(name, category, event_table) */
Datum
evs_drop_command(PG_FUNCTION_ARGS)
{
	char	   *name = evs_called_text(fcinfo, 0, "the name of a command");
	char	   *category = evs_definition_category(fcinfo, 1);
	Oid			event_table = evs_table_argument(fcinfo, 2);
	Oid			types[] = {OIDOID, TEXTOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(event_table), CStringGetTextDatum(category), CStringGetTextDatum(name)};
	bool		isnull;
	int			id;

	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.drop_command()");
	SPI_connect();
	evs_owner_run_extension("SELECT id, owner::oid FROM evstore._command"
					   " WHERE event_table::oid = $1 AND category = $2 AND name = $3",
					   lengthof(types), types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("event table \"%s\" has no command \"%s\" for category \"%s\"",
						get_rel_name(event_table), name, category)));
	id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	evs_called_check_owner(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)),
						   "command", name);
	evs_called_drop_view(psprintf("_decide_%d", id));
	evs_owner_run_extension("DELETE FROM evstore._command WHERE event_table::oid = $1 AND category = $2 AND name = $3",
					   lengthof(types), types, values, NULL, SPI_OK_DELETE);
	SPI_finish();
	PG_RETURN_VOID();
}
