/*
 * aggregate.c
 *		How the state of a stream follows from its events: what was declared.
 *
 * An aggregate is declared for the streams of a category: a function "apply"
 * that makes the next state of a state and an event, or an aggregate of
 * PostgreSQL's kind over events, and the state to begin with. It is a row of
 * evstore._aggregate and a view, evstore._apply_<id>, which calls the function:
 * so the server follows its renames, keeps it from being dropped, and dumps it.
 */
#include "evstore.h"

#include "base/called.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "domain/aggregate.h"
#include "domain/definition.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "store/table.h"
#include "store/upcast.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* What the aggregate calls: a function, or an aggregate of PostgreSQL's kind. */
static void
read_apply(EvsAggregate *aggregate, const char *category)
{
	aggregate->apply = evs_called_in_view(psprintf("_apply_%d", aggregate->definition.id),
										  psprintf("aggregate \"%s\"", category),
										  &aggregate->is_sql_aggregate, &aggregate->state_type);
	get_typlenbyval(aggregate->state_type, &aggregate->state_length, &aggregate->state_by_value);
}

/* The columns of a composite state, as text, and those of rows in it. The definition is told which rows these are. */
static void
describe_columns(StringInfo description, EvsDefinition *definition, Oid type)
{
	Oid			element = get_base_element_type(type);
	Oid			row = getBaseType(OidIsValid(element) ? element : type);
	TupleDesc	desc;

	if (get_typtype(row) != TYPTYPE_COMPOSITE)
		return;
	definition->row_types = lappend_oid(definition->row_types, row);
	definition->row_version += evs_definition_row_version(row);
	desc = lookup_rowtype_tupdesc(row, -1);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (column->attisdropped)
			continue;
		appendStringInfo(description, "%s %s\n", NameStr(column->attname),
						 format_type_with_typemod(column->atttypid, column->atttypmod));
		describe_columns(description, definition, column->atttypid);
	}
	ReleaseTupleDesc(desc);
}

/* What makes events be read in another shape than they were written, as text. */
static void
describe_upcasters(StringInfo description, Oid event_table)
{
	Relation	rel;
	const EvsTable *table = evs_table_open(event_table, AccessShareLock, &rel);

	appendStringInfoString(description, evs_upcast_describe(table->shapes));
	evs_table_close(rel);
}

/*
 * A hash of everything we know of that decides which state follows from given
 * events. What the function calls in turn is not known.
 */
static char *
hash_definition(EvsAggregate *aggregate, Oid event_table)
{
	StringInfoData description;
	uint64		hash[2];

	initStringInfo(&description);
	appendStringInfo(&description, "%s\n%s\n", format_type_be_qualified(aggregate->state_type),
					 aggregate->initial_state ? aggregate->initial_state : "\\N");
	describe_columns(&description, &aggregate->definition, aggregate->state_type);
	if (!aggregate->is_sql_aggregate)
		appendStringInfoString(&description, TextDatumGetCString(DirectFunctionCall1(pg_get_functiondef,
																			  ObjectIdGetDatum(aggregate->apply))));
	describe_upcasters(&description, event_table);
	for (int i = 0; i < lengthof(hash); i++)
		hash[i] = hash_bytes_extended((const unsigned char *) description.data, description.len, i);
	return psprintf(UINT64_FORMAT "." UINT64_FORMAT, hash[0], hash[1]);
}

/* A row from a JSON object: what the object does not name is NULL. */
static Datum
row_from_json(Oid type, const char *json)
{
	Oid			types[] = {JSONBOID};
	Datum		values[] = {DirectFunctionCall1(jsonb_in, CStringGetDatum(json))};
	MemoryContext caller = CurrentMemoryContext;
	bool		isnull;
	Datum		row;

	SPI_connect();
	if (SPI_execute_with_args(psprintf("SELECT pg_catalog.jsonb_populate_record(NULL::%s, $1)",
									   format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY)),
							  lengthof(types), types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not make a row of a JSON object");
	row = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	MemoryContextSwitchTo(caller);
	row = datumCopy(row, false, -1);
	SPI_finish();
	return row;
}

/*
 * A state from its text form, in the current memory context. That of a row may
 * be a JSON object, which goes on being one when the type gets more columns.
 */
Datum
evs_aggregate_state_in(Oid type, const char *state, bool *isnull)
{
	Oid			input;
	Oid			parameter;

	*isnull = state == NULL;
	if (state == NULL)
		return (Datum) 0;
	if (type_is_rowtype(type) && state[strspn(state, " \t\r\n")] == '{')
		return row_from_json(type, state);
	getTypeInputInfo(type, &input, &parameter);
	return OidInputFunctionCall(input, (char *) state, parameter, -1);
}

/* Make the initial state, as the aggregate's owner. */
static void
read_initial_state(EvsAggregate *aggregate)
{
	EvsOwnerFrame frame;
	bool		isnull;

	evs_owner_begin(&frame, aggregate->definition.owner, aggregate->definition.settings);
	aggregate->initial_value = evs_aggregate_state_in(aggregate->state_type, aggregate->initial_state, &isnull);
	evs_owner_end(&frame);
}

/* Read an aggregate. */
static EvsDefinition *
read_aggregate(const EvsDefinition *key)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(key->event_table), CStringGetTextDatum(key->category)};
	MemoryContext context = CurrentMemoryContext;
	EvsAggregate *aggregate = NULL;

	SPI_connect();
	evs_owner_run_extension("SELECT id, owner::oid, initial_state, settings FROM evstore._aggregate"
					   " WHERE event_table::oid = $1 AND category = $2",
					   lengthof(types), types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		initial = SPI_getbinval(row, desc, 3, &isnull);

		MemoryContextSwitchTo(context);
		aggregate = palloc0_object(EvsAggregate);
		aggregate->initial_state = isnull ? NULL : TextDatumGetCString(initial);
		aggregate->definition.id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		aggregate->definition.owner = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
		aggregate->definition.settings = DatumGetArrayTypePCopy(SPI_getbinval(row, desc, 4, &isnull));
	}
	SPI_finish();
	if (aggregate == NULL)
		return NULL;
	read_apply(aggregate, key->category);
	aggregate->hash = hash_definition(aggregate, key->event_table);
	read_initial_state(aggregate);
	return &aggregate->definition;
}

/* The aggregate that a stream belongs to, which stays what it is until it is closed. */
const EvsAggregate *
evs_aggregate_open(Oid event_table, const text *stream)
{
	EvsDefinition *definition = evs_definition_open(event_table, stream, NULL, read_aggregate);

	if (definition == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("event table \"%s\" has no aggregate for stream \"%s\"",
						get_rel_name(event_table), text_to_cstring(stream)),
				 errhint("Declare one for its category, what stands before the first \"-\", with evstore.create_aggregate().")));
	return (const EvsAggregate *) definition;
}
