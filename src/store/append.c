/*
 * append.c
 *		Append: the SQL functions, and the order of their steps.
 *
 *	1. Refuse what cannot work before anything is locked.
 *	2. Lock the stream and learn its last version (stream.c).
 *	3. Check the expected version.
 *	4. Take the positions: after the version is known, so that within a stream
 *	   version order is position order (position.c, invariant 5).
 *	5. Insert (insert.c).
 *	6. Unlock the stream.
 *
 * Any error rolls back all of it; positions taken are then a gap.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/errors.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/append.h"
#include "store/insert.h"
#include "store/position.h"
#include "store/stream.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The meanings of expected_version besides a version. */
#define ANY_VERSION		(-2)	/* NULL in SQL */
#define SOME_VERSION	(-1)	/* the stream must exist */

typedef struct AppendRequest
{
	text	   *stream;
	EvsEvent   *events;
	int			count;
	EvsVersion	expected;
} AppendRequest;

/* Where the last event of a call went: the token that readers wait for. */
typedef struct Appended
{
	EvsVersion	version;
	EvsPosition position;
} Appended;

/* The expected_version argument. */
static EvsVersion
expected_argument(FunctionCallInfo fcinfo, int argument)
{
	EvsVersion	expected;

	if (PG_ARGISNULL(argument))
		return ANY_VERSION;
	expected = PG_GETARG_INT64(argument);
	if (expected < SOME_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected version %lld is not valid", (long long) expected),
				 errhint("Give the version the stream is at, 0 if it must not exist, -1 if it must exist, or NULL for no check.")));
	return expected;
}

/* Refuse to append where the stream is not at the expected version. */
void
evs_append_check_version(const text *stream, EvsVersion expected, EvsVersion actual)
{
	const char *name;

	if (expected == ANY_VERSION || expected == actual || (expected == SOME_VERSION && actual > 0))
		return;

	name = text_to_cstring(stream);
	if (expected == SOME_VERSION)
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
}

/* Refuse a caller who may not insert into the table. */
static void
check_privilege(Relation rel)
{
	AclResult	result = pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_INSERT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, RelationGetRelationName(rel));
}

/* Append a request's events to an event table. */
static Appended
append(Oid relid, const AppendRequest *request)
{
	Relation	rel;
	EvsTable   *table = evs_table_open(relid, RowExclusiveLock, &rel);
	EvsWriter  *writer;
	EvsPlace	place;
	EvsVersion	last;
	Appended	appended;

	check_privilege(rel);

	writer = evs_insert_begin(table, rel);
	last = evs_insert_lock_stream(writer, request->stream);
	evs_append_check_version(request->stream, request->expected, last);

	place.stream = request->stream;
	place.first_version = last + 1;
	place.first_position = evs_position_allocate(request->count);
	place.recorded_at = GetCurrentTimestamp();
	evs_insert_events(writer, &place, request->events, request->count);

	evs_stream_unlock(relid, request->stream);
	evs_insert_end(writer);
	evs_table_close(rel);

	appended.version = last + request->count;
	appended.position = place.first_position + request->count - 1;
	return appended;
}

/* The row (version, position) that append() returns. */
static Datum
appended_row(Appended appended)
{
	static TupleDesc desc = NULL;	/* the same for every call: build it once */
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (desc == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	made = CreateTemplateTupleDesc(2);

		TupleDescInitEntry(made, 1, "version", INT8OID, -1, 0);
		TupleDescInitEntry(made, 2, "position", INT8OID, -1, 0);
		desc = BlessTupleDesc(made);
		MemoryContextSwitchTo(caller);
	}
	values[0] = Int64GetDatum(appended.version);
	values[1] = Int64GetDatum(appended.position);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Arguments of the forms that append one event. */
enum
{
	ARG_STREAM, ARG_TYPE, ARG_DATA, ARG_METADATA, ARG_EXPECTED, ARG_ID, ARG_TAGS, ARG_TABLE
};

/* Append one event whose data and metadata have been read already. */
static Datum
append_one(FunctionCallInfo fcinfo, Jsonb *data, Jsonb *metadata)
{
	EvsEvent	event;
	AppendRequest request;

	evs_append_require_writable();
	request.stream = PG_ARGISNULL(ARG_STREAM) ? NULL : PG_GETARG_TEXT_PP(ARG_STREAM);
	evs_event_check_stream(request.stream);
	event.type = PG_ARGISNULL(ARG_TYPE) ? NULL : PG_GETARG_TEXT_PP(ARG_TYPE);
	event.data = data;
	event.metadata = metadata;
	event.id = PG_ARGISNULL(ARG_ID) ? NULL : PG_GETARG_UUID_P(ARG_ID);
	event.tags = PG_ARGISNULL(ARG_TAGS) ? NULL : PG_GETARG_ARRAYTYPE_P(ARG_TAGS);
	evs_event_check(&event);
	request.events = &event;
	request.count = 1;
	request.expected = expected_argument(fcinfo, ARG_EXPECTED);

	return appended_row(append(evs_table_argument(fcinfo, ARG_TABLE), &request));
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
	AppendRequest request;

	evs_append_require_writable();
	request.stream = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	evs_event_check_stream(request.stream);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the array of events must not be null")));
	request.events = evs_events_from_array(PG_GETARG_ARRAYTYPE_P(1), &request.count);
	request.expected = expected_argument(fcinfo, 2);

	return appended_row(append(evs_table_argument(fcinfo, 3), &request));
}
