/*
 * append.c
 *		Append: the order of its steps, and the functions that append to one
 *		stream.
 *
 *	1. Refuse what cannot work before anything is locked.
 *	2. Take the stripes of the streams, types and tags (stripe.c), and learn the
 *	   last version of each stream (stream.c). If somebody has not finished
 *	   writing what we must know, let go of everything, wait, and look again.
 *	3. A retry of what is stored ends here, with the answer of the first time
 *	   (retry.c).
 *	4. Check the expected versions, the condition (condition.c), and the data of
 *	   the events (conform.c).
 *	5. Take the positions: after the versions are known, so that within a stream
 *	   version order is position order (position.c, invariant 5).
 *	6. Insert (insert.c).
 *	7. Keep of the stripes what must be kept (stripe.c).
 *
 * Any error rolls back all of it; positions taken are then a gap.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/confine.h"
#include "base/counters.h"
#include "base/database.h"
#include "base/errors.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/append.h"
#include "store/conform.h"
#include "store/insert.h"
#include "store/position.h"
#include "store/retry.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Refuse what cannot be expected of a stream. */
void
evs_append_check_expected(EvsVersion expected)
{
	if (expected < EVS_SOME_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected version %lld is not valid", (long long) expected),
				 errhint("Give the version the stream is at, 0 if it must not exist, -1 if it must exist, or NULL for no check.")));
}

/* The expected_version argument. */
EvsVersion
evs_append_expected(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		return EVS_ANY_VERSION;
	evs_append_check_expected(PG_GETARG_INT64(argument));
	return PG_GETARG_INT64(argument);
}

/* Is a stream where it is expected to be? */
static bool
is_expected(EvsVersion expected, EvsVersion actual)
{
	return expected == EVS_ANY_VERSION || expected == actual || (expected == EVS_SOME_VERSION && actual > 0);
}

/* Refuse to append where the stream is not at the expected version. */
void
evs_append_check_version(const text *stream, EvsVersion expected, EvsVersion actual)
{
	const char *name;

	if (is_expected(expected, actual))
		return;

	evs_count(evs_database_slot(), EVS_COUNT_CONFLICTS, 1);
	name = text_to_cstring(stream);
	if (expected == EVS_SOME_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_EVS_VERSION_CONFLICT),
				 errmsg("stream \"%s\" does not exist, but was expected to", name)));
	if (expected == 0)
		ereport(ERROR,
				(errcode(ERRCODE_EVS_VERSION_CONFLICT),
				 errmsg("stream \"%s\" is at version %lld, but was expected not to exist",
						name, (long long) actual),
				 errhint("Read the stream again and decide anew.")));
	ereport(ERROR,
			(errcode(ERRCODE_EVS_VERSION_CONFLICT),
			 errmsg("stream \"%s\" is at version %lld, but was expected at version %lld",
					name, (long long) actual, (long long) expected),
			 errhint("Read the stream again and decide anew.")));
}

/* Refuse what cannot be written here and now, whatever it is. */
void
evs_append_require_writable(void)
{
	evs_shmem_require();
	PreventCommandIfReadOnly("evstore.append()");
	evs_conform_require_unchecking();
}

/* Refuse a caller who may not do this with the table. */
static void
check_privilege(Relation rel, AclMode mode)
{
	if (pg_class_aclmask(RelationGetRelid(rel), GetUserId(), mode, ACLMASK_ALL) != mode)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(rel));
}

/* Add the stripes of an event that is to be added. */
void
evs_append_want_stripes(EvsStripes *stripes, const text *type, ArrayType *tags)
{
	Datum	   *names;
	int			count;

	evs_stripes_want(stripes, EVS_STRIPE_TYPE, EVS_STRIPE_ADD, VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type));
	if (tags == NULL)
		return;
	deconstruct_array(tags, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		text	   *name = DatumGetTextPP(names[i]);

		evs_stripes_want(stripes, EVS_STRIPE_TAG, EVS_STRIPE_ADD, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
}

/* All stripes of a call. */
static void
want_stripes(EvsStripes *stripes, const EvsAppend *appends, int count, const EvsCondition *condition)
{
	for (int i = 0; i < count; i++)
	{
		const EvsAppend *append = &appends[i];

		if (append->stream)
			evs_stripes_want(stripes, EVS_STRIPE_STREAM, append->count > 0 ? EVS_STRIPE_ADD : EVS_STRIPE_CHECK,
							 VARDATA_ANY(append->stream), VARSIZE_ANY_EXHDR(append->stream));
		else if (append->events[0].id)
			/* No stream keeps two retries apart: let the id do it. */
			evs_stripes_want(stripes, EVS_STRIPE_STREAM, EVS_STRIPE_ADD,
							 (const char *) append->events[0].id, sizeof(pg_uuid_t));
		for (int j = 0; j < append->count; j++)
			evs_append_want_stripes(stripes, append->events[j].type, append->events[j].tags);
	}
	if (condition)
		evs_criteria_want_stripes(&condition->criteria, stripes);
}

/* Has any of the events an id or tags? */
static bool
any_marked(const EvsAppend *appends, int count)
{
	for (int i = 0; i < count; i++)
		for (int j = 0; j < appends[i].count; j++)
			if (appends[i].events[j].id || appends[i].events[j].tags)
				return true;
	return false;
}

/* Which of the appends are stored already: all that have events, or none; anything between is an error. */
static bool
find_stored(EvsTable *table, Relation rel, EvsAppend *appends, int count, TransactionId *unfinished)
{
	int			stored = 0;
	int			missing = 0;

	for (int i = 0; i < count; i++)
	{
		if (appends[i].count == 0)
			continue;
		if (evs_retry_find(table, rel, &appends[i], unfinished))
			stored++;
		else
			missing++;
	}
	if (stored > 0 && missing > 0 && !TransactionIdIsValid(*unfinished))
		evs_retry_refuse_partial();
	return stored > 0;
}

/*
 * Steps 2 and 3: take the stripes, and learn the version of each stream; true
 * if the appends are stored already, and have been told where.
 */
static bool
lock_and_look(EvsTable *table, EvsWriter *writer, Relation rel, const EvsStripes *stripes,
			  EvsAppend *appends, int count)
{
	TransactionId unfinished;
	bool		stored;

	do
	{
		unfinished = InvalidTransactionId;
		stored = false;
		evs_stripes_take(stripes);
		for (int i = 0; i < count; i++)
			appends[i].version = appends[i].stream ?
				evs_insert_newest_version(writer, appends[i].stream, &unfinished) : 0;
		if (!TransactionIdIsValid(unfinished))
			stored = find_stored(table, rel, appends, count, &unfinished);
	} while (evs_stripes_yield(stripes, rel, unfinished));
	return stored;
}

/* Say that an id is another event's, where the index says it in its own words. */
static void
insert_with_ids(EvsTable *table, EvsWriter *writer, const EvsPlace *place, const EvsAppend *append)
{
	const char *index = get_rel_name(table->id_index);
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		evs_insert_events(writer, place, append->events, append->count);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || error->constraint_name == NULL ||
			index == NULL || strcmp(error->constraint_name, index) != 0)
			PG_RE_THROW();
		FlushErrorState();
		evs_retry_refuse_id(error->detail);
	}
	PG_END_TRY();
}

/* Steps 5 and 6. */
static void
insert_all(EvsTable *table, EvsWriter *writer, EvsAppend *appends, int count)
{
	int			total = 0;
	EvsPlace	place;

	for (int i = 0; i < count; i++)
		total += appends[i].count;
	if (total == 0)
		return;

	place.first_position = evs_position_allocate(total);
	place.recorded_at = GetCurrentTimestamp();
	for (int i = 0; i < count; i++)
	{
		EvsAppend  *append = &appends[i];

		if (append->count == 0)
			continue;
		place.stream = append->stream;
		place.first_version = append->version + 1;
		if (evs_retry_has_ids(append))
			insert_with_ids(table, writer, &place, append);
		else
			evs_insert_events(writer, &place, append->events, append->count);
		if (append->stream)
			append->version += append->count;
		place.first_position += append->count;
		append->position = place.first_position - 1;
	}
}

/* Does an append meet another version than it expects? Where it does not yield, that is an error. */
static bool
meets_conflict(EvsAppend *append)
{
	if (append->stream == NULL)
		return false;
	if (!append->yields)
		evs_append_check_version(append->stream, append->expected, append->version);
	append->conflict = !is_expected(append->expected, append->version);
	return append->conflict;
}

/* Does any of the appends yield to a conflict? */
static bool
any_conflict(EvsAppend *appends, int count)
{
	bool		any = false;

	for (int i = 0; i < count; i++)
		any |= meets_conflict(&appends[i]);
	return any;
}

/*
 * Refuse events whose data are not what their types say, and give each its
 * schema version. A retry need not be such: it was, when it was stored.
 */
static void
conform_all(const EvsShapes *shapes, EvsAppend *appends, int count)
{
	for (int i = 0; i < count; i++)
		for (int j = 0; j < appends[i].count; j++)
		{
			EvsEvent   *event = &appends[i].events[j];

			event->schema_version = evs_conform(shapes, event->type, event->schema_version, event->data);
		}
}

/* Append to an event table, all or nothing, and tell each append where its events went. */
void
evs_append(Oid relid, EvsAppend *appends, int count, const EvsCondition *condition)
{
	Relation	rel;
	EvsTable   *table = evs_table_open(relid, RowExclusiveLock, &rel);
	EvsWriter  *writer;
	EvsStripes	stripes;

	evs_confine_check(relid);
	check_privilege(rel, condition ? ACL_INSERT | ACL_SELECT : ACL_INSERT);

	evs_stripes_init(&stripes, relid);
	want_stripes(&stripes, appends, count, condition);
	writer = evs_insert_begin(table, rel, any_marked(appends, count));
	if (lock_and_look(table, writer, rel, &stripes, appends, count) || any_conflict(appends, count))
		evs_stripes_give_back(&stripes);	/* stored earlier, or not to be: nothing to add */
	else
	{
		if (condition)
			evs_condition_check(condition, table, rel);
		conform_all(table->shapes, appends, count);
		insert_all(table, writer, appends, count);
		evs_stripes_keep_used(&stripes);
	}
	evs_insert_end(writer);
	evs_table_close(rel);
}

/* The row (version, position) of an append; events of no stream have no version. */
Datum
evs_append_result(const EvsAppend *append)
{
	static TupleDesc desc = NULL;	/* the same for every call: build it once */
	Datum		values[2];
	bool		nulls[2] = {append->stream == NULL, false};

	if (desc == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	made = CreateTemplateTupleDesc(2);

		TupleDescInitEntry(made, 1, "version", INT8OID, -1, 0);
		TupleDescInitEntry(made, 2, "position", INT8OID, -1, 0);
		desc = BlessTupleDesc(made);
		MemoryContextSwitchTo(caller);
	}
	values[0] = Int64GetDatum(append->version);
	values[1] = Int64GetDatum(append->position);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Arguments of the forms that append one event. */
enum
{
	ARG_STREAM, ARG_TYPE, ARG_DATA, ARG_METADATA, ARG_EXPECTED, ARG_ID, ARG_TAGS, ARG_TABLE, ARG_SCHEMA_VERSION
};

/* Append one event whose data and metadata have been read already. */
static Datum
append_one(FunctionCallInfo fcinfo, Jsonb *data, Jsonb *metadata)
{
	EvsEvent	event;
	EvsAppend	append = {0};

	evs_append_require_writable();
	append.stream = PG_ARGISNULL(ARG_STREAM) ? NULL : PG_GETARG_TEXT_PP(ARG_STREAM);
	evs_event_check_stream(append.stream);
	event.type = PG_ARGISNULL(ARG_TYPE) ? NULL : PG_GETARG_TEXT_PP(ARG_TYPE);
	event.data = data;
	event.metadata = metadata;
	event.id = PG_ARGISNULL(ARG_ID) ? NULL : PG_GETARG_UUID_P(ARG_ID);
	event.tags = PG_ARGISNULL(ARG_TAGS) ? NULL : PG_GETARG_ARRAYTYPE_P(ARG_TAGS);
	event.schema_version = PG_ARGISNULL(ARG_SCHEMA_VERSION) ? 0 :
		evs_event_check_schema_version(PG_GETARG_INT32(ARG_SCHEMA_VERSION));
	evs_event_check(&event);
	append.events = &event;
	append.count = 1;
	append.expected = evs_append_expected(fcinfo, ARG_EXPECTED);

	evs_append(evs_table_argument(fcinfo, ARG_TABLE), &append, 1, NULL);
	return evs_append_result(&append);
}

PG_FUNCTION_INFO_V1(evs_append_one);
PG_FUNCTION_INFO_V1(evs_append_one_text);
PG_FUNCTION_INFO_V1(evs_append_many);

/* evstore.append(stream, type, data jsonb, ...) */
Datum
evs_append_one(PG_FUNCTION_ARGS)
{
	return append_one(fcinfo,
					  PG_ARGISNULL(ARG_DATA) ? NULL : PG_GETARG_JSONB_P(ARG_DATA),
					  PG_ARGISNULL(ARG_METADATA) ? NULL : PG_GETARG_JSONB_P(ARG_METADATA));
}

/* A jsonb from an argument that is JSON text. */
static Jsonb *
jsonb_from_text_argument(FunctionCallInfo fcinfo, int argument)
{
	if (PG_ARGISNULL(argument))
		return NULL;
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											  CStringGetDatum(text_to_cstring(PG_GETARG_TEXT_PP(argument)))));
}

/* evstore.append(stream, type, data text, ...): data and metadata as JSON text. */
Datum
evs_append_one_text(PG_FUNCTION_ARGS)
{
	return append_one(fcinfo,
					  jsonb_from_text_argument(fcinfo, ARG_DATA),
					  jsonb_from_text_argument(fcinfo, ARG_METADATA));
}

/* evstore.append(stream, events, expected_version, event_table) */
Datum
evs_append_many(PG_FUNCTION_ARGS)
{
	EvsAppend	append = {0};

	evs_append_require_writable();
	append.stream = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	evs_event_check_stream(append.stream);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the array of events must not be null")));
	append.events = evs_events_from_array(PG_GETARG_ARRAYTYPE_P(1), &append.count);
	append.expected = evs_append_expected(fcinfo, 2);

	evs_append(evs_table_argument(fcinfo, 3), &append, 1, NULL);
	return evs_append_result(&append);
}
