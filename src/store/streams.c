/*
 * streams.c
 *		Several streams at once: append_streams(), and expect_version(), which
 *		holds a stream where it is without writing to it.
 *
 * Any number of append() may stand in one transaction, each taking its locks
 * when its turn comes; two transactions that do so in different order may then
 * wait for each other. One append_streams() knows all of its streams beforehand
 * and takes them in one order, as everybody does.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "store/append.h"
#include "store/table.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

/* Attributes of evstore.stream_append, from 0. */
enum
{
	STREAM_APPEND_STREAM,
	STREAM_APPEND_EVENTS,
	STREAM_APPEND_EXPECTED,
	STREAM_APPEND_COUNT
};

/* Take one element of an evstore.stream_append[] apart. */
static void
append_from_composite(Datum composite, TupleDesc desc, EvsAppend *append)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(composite);
	HeapTupleData tuple = {0};
	Datum		values[STREAM_APPEND_COUNT];
	bool		nulls[STREAM_APPEND_COUNT];
	ArrayType  *events;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);

	append->stream = nulls[STREAM_APPEND_STREAM] ? NULL : DatumGetTextPP(values[STREAM_APPEND_STREAM]);
	evs_event_check_stream(append->stream);

	append->expected = EVS_ANY_VERSION;
	if (!nulls[STREAM_APPEND_EXPECTED])
	{
		append->expected = DatumGetInt64(values[STREAM_APPEND_EXPECTED]);
		evs_append_check_expected(append->expected);
	}

	events = nulls[STREAM_APPEND_EVENTS] ? NULL : DatumGetArrayTypeP(values[STREAM_APPEND_EVENTS]);
	if (events && ArrayGetNItems(ARR_NDIM(events), ARR_DIMS(events)) > 0)
		append->events = evs_events_from_array(events, &append->count);
	else if (append->expected == EVS_ANY_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream \"%s\" has neither events nor an expected version",
						text_to_cstring(append->stream))));
}

/* Order appends by stream. */
static int
compare_streams(const void *a, const void *b)
{
	const text *left = (*(const EvsAppend *const *) a)->stream;
	const text *right = (*(const EvsAppend *const *) b)->stream;
	int			left_length = VARSIZE_ANY_EXHDR(left);
	int			right_length = VARSIZE_ANY_EXHDR(right);
	int			order = memcmp(VARDATA_ANY(left), VARDATA_ANY(right), Min(left_length, right_length));

	return order != 0 ? order : left_length - right_length;
}

/* Refuse a stream that is named twice: which of its versions would be expected? */
static void
check_distinct(EvsAppend *appends, int count)
{
	EvsAppend **sorted = palloc_array(EvsAppend *, count);

	for (int i = 0; i < count; i++)
		sorted[i] = &appends[i];
	qsort(sorted, count, sizeof(EvsAppend *), compare_streams);
	for (int i = 1; i < count; i++)
		if (compare_streams(&sorted[i - 1], &sorted[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("stream \"%s\" is named twice", text_to_cstring(sorted[i]->stream)),
					 errhint("Put all events of a stream into one element.")));
}

/* The appends of an evstore.stream_append[], each of them checked. */
static EvsAppend *
appends_from_array(ArrayType *array, int *count)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(ARR_ELEMTYPE(array), -1);
	Datum	   *elements;
	bool	   *nulls;
	EvsAppend  *appends;

	if (desc->natts != STREAM_APPEND_COUNT)
		elog(ERROR, "type evstore.stream_append has %d attributes", desc->natts);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("the array of appends must have one dimension")));
	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &elements, &nulls, count);
	if (*count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the array of appends must not be empty")));

	appends = palloc0_array(EvsAppend, *count);
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("an append of the array must not be null")));
		append_from_composite(elements[i], desc, &appends[i]);
	}
	ReleaseTupleDesc(desc);
	check_distinct(appends, *count);
	return appends;
}

PG_FUNCTION_INFO_V1(evs_append_streams);
PG_FUNCTION_INFO_V1(evs_expect_version);

/* evstore.append_streams(appends, event_table) */
Datum
evs_append_streams(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EvsAppend  *appends;
	int			count;

	evs_append_require_writable();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the array of appends must not be null")));
	appends = appends_from_array(PG_GETARG_ARRAYTYPE_P(0), &count);
	evs_append(evs_table_argument(fcinfo, 1), appends, count, NULL);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < count; i++)
	{
		Datum		values[] = {PointerGetDatum(appends[i].stream), Int64GetDatum(appends[i].version),
		Int64GetDatum(appends[i].position)};
		bool		nulls[] = {false, false, appends[i].count == 0};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* evstore.expect_version(stream, version, event_table) */
Datum
evs_expect_version(PG_FUNCTION_ARGS)
{
	EvsAppend	append = {0};

	evs_append_require_writable();
	append.stream = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	evs_event_check_stream(append.stream);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the version must not be null")));
	append.expected = evs_append_expected(fcinfo, 1);
	evs_append(evs_table_argument(fcinfo, 2), &append, 1, NULL);
	PG_RETURN_VOID();
}
