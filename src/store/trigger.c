/*
 * trigger.c
 *		Plain INSERT and COPY: the same rules as append(), row by row.
 *
 * The BEFORE INSERT trigger fills in what append() would have. Here the row
 * reaches the index only after we return, so all stripes are kept until the
 * transaction ends. A row that comes with a position is a restored event
 * (restore.c), unless append() itself made it (insert.c).
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "store/append.h"
#include "store/event.h"
#include "store/insert.h"
#include "store/position.h"
#include "store/restore.h"
#include "store/stream.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/array.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* A text column of the row, NULL if it is null. */
static text *
text_column(const Datum *values, const bool *nulls, int column)
{
	return nulls[column - 1] ? NULL : DatumGetTextPP(values[column - 1]);
}

/* The tags of the row, NULL if there are none. */
static ArrayType *
tags_column(const Datum *values, const bool *nulls)
{
	return nulls[EVS_COLUMN_TAGS - 1] ? NULL : DatumGetArrayTypeP(values[EVS_COLUMN_TAGS - 1]);
}

/* Take the stripes of a row, to the end of the transaction, and learn its stream's last version. */
static EvsVersion
lock_row_stripes(Relation rel, EvsTable *table, const text *stream, const text *type, ArrayType *tags)
{
	Relation	index = index_open(table->version_index, AccessShareLock);
	EvsVersion	last;
	EvsStripes	stripes;

	evs_stripes_init(&stripes, RelationGetRelid(rel));
	evs_stripes_want(&stripes, EVS_STRIPE_STREAM, EVS_STRIPE_ADD, VARDATA_ANY(stream), VARSIZE_ANY_EXHDR(stream));
	evs_append_want_stripes(&stripes, type, tags);
	for (;;)
	{
		TransactionId unfinished = InvalidTransactionId;

		evs_stripes_take(&stripes);
		last = evs_stream_newest(rel, index, table->probe, stream, &unfinished);
		if (!TransactionIdIsValid(unfinished))
			break;
		evs_stripes_give_back(&stripes);
		XactLockTableWait(unfinished, rel, NULL, XLTW_None);
	}
	index_close(index, NoLock);
	return last;
}

/* Refuse a row that lacks what every event has. */
static void
check_event(const Datum *values, const bool *nulls)
{
	evs_event_check_type(text_column(values, nulls, EVS_COLUMN_TYPE));
	evs_event_check_tags(tags_column(values, nulls));
	if (nulls[EVS_COLUMN_DATA - 1])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event data must not be null"),
				 errhint("An event without data has the data {}.")));
}

/* Give the row its version, position and time. */
static void
fill_in(Relation rel, EvsTable *table, Datum *values, bool *nulls)
{
	text	   *stream = text_column(values, nulls, EVS_COLUMN_STREAM);
	EvsVersion	last = lock_row_stripes(rel, table, stream, text_column(values, nulls, EVS_COLUMN_TYPE),
									 tags_column(values, nulls));

	if (!nulls[EVS_COLUMN_VERSION - 1])
	{
		EvsVersion	given = DatumGetInt64(values[EVS_COLUMN_VERSION - 1]);

		if (given < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("version %lld is not valid", (long long) given),
					 errhint("Versions count from 1. Leave the column out to append whatever the version.")));
		evs_append_check_version(stream, given - 1, last);
	}

#define SET(column, datum)	(values[(column) - 1] = (datum), nulls[(column) - 1] = false)
	SET(EVS_COLUMN_VERSION, Int64GetDatum(last + 1));
	SET(EVS_COLUMN_POSITION, Int64GetDatum(evs_position_allocate(1)));
	SET(EVS_COLUMN_RECORDED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	if (nulls[EVS_COLUMN_SCHEMA_VERSION - 1])
		SET(EVS_COLUMN_SCHEMA_VERSION, Int32GetDatum(EVS_FIRST_SCHEMA_VERSION));
#undef SET
}

PG_FUNCTION_INFO_V1(evs_insert_trigger);

/* evstore._insert(): BEFORE INSERT FOR EACH ROW on every event table. */
Datum
evs_insert_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	rel;
	EvsTable   *table;
	TupleDesc	desc;
	HeapTuple	row;
	Datum	   *values;
	bool	   *nulls;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evstore._insert() must be fired before insert for each row")));

	/* Anybody can put this trigger on a table of theirs: the columns are checked before they are read. */
	table = evs_table_open(RelationGetRelid(trigger->tg_relation), NoLock, &rel);
	row = trigger->tg_trigtuple;
	desc = RelationGetDescr(rel);
	values = palloc_array(Datum, desc->natts);
	nulls = palloc_array(bool, desc->natts);
	heap_deform_tuple(row, desc, values, nulls);

	if (!nulls[EVS_COLUMN_POSITION - 1] &&
		evs_insert_claims(RelationGetRelid(rel), DatumGetInt64(values[EVS_COLUMN_POSITION - 1])))
	{
		evs_table_close(rel);
		return PointerGetDatum(row);
	}

	evs_append_require_writable();
	if (!nulls[EVS_COLUMN_POSITION - 1])
	{
		EvsStripes	stripes;

		check_event(values, nulls);
		/* A condition must see restored events as well. */
		evs_stripes_init(&stripes, RelationGetRelid(rel));
		evs_append_want_stripes(&stripes, text_column(values, nulls, EVS_COLUMN_TYPE), tags_column(values, nulls));
		evs_stripes_take(&stripes);
		evs_restore_row(rel, table, values, nulls);
		evs_table_close(rel);
		return PointerGetDatum(row);
	}

	if (!nulls[EVS_COLUMN_RECORDED_AT - 1])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" is filled by evstore", "recorded_at"),
				 errhint("Leave the column out of the INSERT or COPY. Only an event that is restored has its time, and its position.")));
	evs_event_check_stream(text_column(values, nulls, EVS_COLUMN_STREAM));
	check_event(values, nulls);
	fill_in(rel, table, values, nulls);
	evs_table_close(rel);
	return PointerGetDatum(heap_form_tuple(desc, values, nulls));
}
