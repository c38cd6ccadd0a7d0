/*
 * event.c
 *		Events on their way into a table: the composite type
 *		evstore.new_event, and the same as JSON.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "store/event.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* Attributes of evstore.new_event, from 0. */
enum
{
	NEW_EVENT_TYPE,
	NEW_EVENT_DATA,
	NEW_EVENT_METADATA,
	NEW_EVENT_ID,
	NEW_EVENT_TAGS,
	NEW_EVENT_SCHEMA_VERSION,
	NEW_EVENT_COUNT
};

static const char *const new_event_keys[NEW_EVENT_COUNT] = {"type", "data", "metadata", "id", "tags", "schema_version"};

/* An index entry has room for the name of a stream, or for a tag, this long. */
#define LONGEST_NAME 2048

/* Refuse a stream or type that is NULL or empty; "what" says which. */
static void
check_name(const text *name, const char *what)
{
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	if (VARSIZE_ANY_EXHDR(name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what)));
}

/* Refuse what cannot be found by an index; "what" says what it is. */
static void
check_indexed_name(const text *name, const char *what)
{
	check_name(name, what);
	if (VARSIZE_ANY_EXHDR(name) > LONGEST_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s is too long", what),
				 errdetail("It has %zu bytes; %d are allowed.",
						   (size_t) VARSIZE_ANY_EXHDR(name), LONGEST_NAME)));
}

/* Refuse what cannot name a stream. */
void
evs_event_check_stream(const text *stream)
{
	check_indexed_name(stream, "stream");
}

/* Refuse what cannot be the type of an event. */
void
evs_event_check_type(const text *type)
{
	check_name(type, "event type");
}

/* Refuse tags that could not be found again. */
void
evs_event_check_tags(ArrayType *tags)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (tags == NULL)
		return;
	if (ARR_NDIM(tags) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("the array of tags must have one dimension")));
	deconstruct_array(tags, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		check_indexed_name(nulls[i] ? NULL : DatumGetTextPP(elements[i]), "tag");
}

/* Refuse what no version of a type's shape can be. */
int
evs_event_check_schema_version(int version)
{
	if (version < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schema version %d is not valid", version),
				 errhint("Schema versions count from 1. Leave it out for the one that is current for the type.")));
	return version;
}

/* Refuse an event that lacks what every event has. */
void
evs_event_check(const EvsEvent *event)
{
	evs_event_check_tags(event->tags);
	evs_event_check_type(event->type);
	if (event->data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event data must not be null"),
				 errhint("An event without data has the data {}.")));
}

/* Take one element of an evstore.new_event[] apart. */
static void
event_from_composite(Datum composite, TupleDesc desc, EvsEvent *event)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(composite);
	HeapTupleData tuple;
	Datum		values[NEW_EVENT_COUNT];
	bool		nulls[NEW_EVENT_COUNT];

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	heap_deform_tuple(&tuple, desc, values, nulls);

	event->type = nulls[NEW_EVENT_TYPE] ? NULL : DatumGetTextPP(values[NEW_EVENT_TYPE]);
	event->data = nulls[NEW_EVENT_DATA] ? NULL : DatumGetJsonbP(values[NEW_EVENT_DATA]);
	event->metadata = nulls[NEW_EVENT_METADATA] ? NULL : DatumGetJsonbP(values[NEW_EVENT_METADATA]);
	event->id = nulls[NEW_EVENT_ID] ? NULL : DatumGetUUIDP(values[NEW_EVENT_ID]);
	event->tags = nulls[NEW_EVENT_TAGS] ? NULL : DatumGetArrayTypeP(values[NEW_EVENT_TAGS]);
	event->schema_version = nulls[NEW_EVENT_SCHEMA_VERSION] ? 0 :
		evs_event_check_schema_version(DatumGetInt32(values[NEW_EVENT_SCHEMA_VERSION]));
}

/* Says, in an error about one event of an array, which one it is. */
static void
element_context(void *arg)
{
	errcontext("event %d of the array", *(int *) arg);
}

/* The events of an evstore.new_event[], each of them checked. */
EvsEvent *
evs_events_from_array(ArrayType *array, int *count)
{
	Oid			type = ARR_ELEMTYPE(array);
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	Datum	   *elements;
	bool	   *nulls;
	EvsEvent   *events;
	int			number;
	ErrorContextCallback context = {.callback = element_context, .arg = &number};

	if (desc->natts != NEW_EVENT_COUNT)
		elog(ERROR, "type evstore.new_event has %d attributes", desc->natts);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("the array of events must have one dimension")));

	deconstruct_array(array, type, -1, false, TYPALIGN_DOUBLE, &elements, &nulls, count);
	if (*count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the array of events must not be empty")));

	events = palloc_array(EvsEvent, *count);
	context.previous = error_context_stack;
	error_context_stack = &context;
	for (int i = 0; i < *count; i++)
	{
		number = i + 1;
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("an event of the array must not be null")));
		event_from_composite(elements[i], desc, &events[i]);
		evs_event_check(&events[i]);
	}
	error_context_stack = context.previous;
	ReleaseTupleDesc(desc);
	return events;
}

/* Complain about one event of the JSON array. */
static void
json_error(int number, const char *complaint, const char *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg(complaint, key),
			 errdetail("Event %d of the array.", number),
			 errhint("An event is an object with the keys \"type\", \"data\", \"metadata\", \"id\", \"tags\" and \"schema_version\", the first two required.")));
}

/* An array of strings as text[], NULL if it is something else. */
ArrayType *
evs_strings_from_json(const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	element;
	ArrayBuildState *strings = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		JsonContainerIsScalar(value->val.binary.data))
		return NULL;

	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString)
			return NULL;
		accumArrayResult(strings,
						 PointerGetDatum(cstring_to_text_with_len(element.val.string.val, element.val.string.len)),
						 false, TEXTOID, CurrentMemoryContext);
	}
	return DatumGetArrayTypeP(makeArrayResult(strings, CurrentMemoryContext));
}

/* The value of "tags". */
static Datum
tags_from_json(JsonbValue *value, int number)
{
	ArrayType  *tags = evs_strings_from_json(value);

	if (tags == NULL)
		json_error(number, "\"%s\" must be an array of strings", new_event_keys[NEW_EVENT_TAGS]);
	return PointerGetDatum(tags);
}

/* Has a number no fraction? */
static bool
is_whole_number(Numeric number)
{
	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(number),
											DirectFunctionCall2(numeric_trunc, NumericGetDatum(number), Int32GetDatum(0))));
}

/* The value of one key, as the attribute of evstore.new_event takes it. */
static Datum
attribute_from_json(int attribute, JsonbValue *value, int number)
{
	bool		is_string = value->type == jbvString;
	char	   *string = is_string ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;

	switch (attribute)
	{
		case NEW_EVENT_TYPE:
			if (!is_string)
				json_error(number, "\"%s\" must be a string", new_event_keys[attribute]);
			return CStringGetTextDatum(string);
		case NEW_EVENT_ID:
			if (!is_string)
				json_error(number, "\"%s\" must be a string", new_event_keys[attribute]);
			return DirectFunctionCall1(uuid_in, CStringGetDatum(string));
		case NEW_EVENT_TAGS:
			return tags_from_json(value, number);
		case NEW_EVENT_SCHEMA_VERSION:
			if (value->type != jbvNumeric || !is_whole_number(value->val.numeric))
				json_error(number, "\"%s\" must be a whole number", new_event_keys[attribute]);
			return DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric));
		default:
			return JsonbPGetDatum(JsonbValueToJsonb(value));
	}
}

/* One object of the JSON array, as evstore.new_event. */
static Datum
composite_from_json(JsonbContainer *object, TupleDesc desc, int number)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	Datum		values[NEW_EVENT_COUNT] = {0};
	bool		nulls[NEW_EVENT_COUNT] = {true, true, true, true, true, true};

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		int			attribute = 0;
		char	   *key;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		while (attribute < NEW_EVENT_COUNT && strcmp(key, new_event_keys[attribute]) != 0)
			attribute++;
		if (attribute == NEW_EVENT_COUNT)
			json_error(number, "an event has no key \"%s\"", key);

		(void) JsonbIteratorNext(&iterator, &value, true);
		/* In "data", null is a JSON value like any other; elsewhere it is absence. */
		if (value.type == jbvNull && attribute != NEW_EVENT_DATA)
			continue;
		values[attribute] = attribute_from_json(attribute, &value, number);
		nulls[attribute] = false;
	}
	for (int i = NEW_EVENT_TYPE; i <= NEW_EVENT_DATA; i++)
		if (nulls[i])
			json_error(number, "an event must have the key \"%s\"", new_event_keys[i]);

	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

PG_FUNCTION_INFO_V1(evs_events_from_json);

/* evstore.events(jsonb): the array that append() takes, from JSON. */
Datum
evs_events_from_json(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = PG_GETARG_JSONB_P(0);
	Oid			type = evs_catalog()->new_event_type;
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	ArrayBuildState *events = initArrayResult(type, CurrentMemoryContext, false);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			number = 0;

	if (!JB_ROOT_IS_ARRAY(json) || JB_ROOT_IS_SCALAR(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events must be a JSON array of objects")));

	iterator = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		number++;
		if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("event %d of the array is not an object", number)));
		accumArrayResult(events, composite_from_json(value.val.binary.data, desc, number),
						 false, type, CurrentMemoryContext);
	}
	ReleaseTupleDesc(desc);
	PG_RETURN_DATUM(makeArrayResult(events, CurrentMemoryContext));
}
