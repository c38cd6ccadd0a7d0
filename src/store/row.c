/*
 * row.c
 *		New events as rows of the table, as INSERT and COPY bring them.
 *
 * Stream, type and data are required, a version is an expectation, position
 * and time are filled in. The trigger sees to it row by row (trigger.c), our
 * own COPY for many rows at once (copy.c).
 */
#include "evstore.h"

#include "store/append.h"
#include "store/cause.h"
#include "store/conform.h"
#include "store/row.h"
#include "store/table.h"
#include "utils/array.h"
#include "utils/builtins.h"
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

/* The stream of a row that was checked. */
const text *
evs_row_stream(const Datum *values)
{
	return DatumGetTextPP(values[EVS_COLUMN_STREAM - 1]);
}

/* Refuse a row whose type, tags or data no event can have. */
void
evs_row_check_payload(const Datum *values, const bool *nulls)
{
	evs_event_check_type(text_column(values, nulls, EVS_COLUMN_TYPE));
	evs_event_check_tags(tags_column(values, nulls));
	if (nulls[EVS_COLUMN_DATA - 1])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event data must not be null"),
				 errhint("An event without data has the data {}.")));
}

/* Refuse a row whose data are not what its type says, and give it a schema version if it brings none. */
static void
conform(const EvsShapes *shapes, Datum *values, bool *nulls)
{
	Datum	   *version = &values[EVS_COLUMN_SCHEMA_VERSION - 1];
	bool	   *has_none = &nulls[EVS_COLUMN_SCHEMA_VERSION - 1];

	*version = Int32GetDatum(evs_conform(shapes, text_column(values, nulls, EVS_COLUMN_TYPE),
										 *has_none ? 0 : evs_event_check_schema_version(DatumGetInt32(*version)),
										 DatumGetJsonbP(values[EVS_COLUMN_DATA - 1])));
	*has_none = false;
}

/* Refuse a row that cannot be a new event, as far as the row and what is declared of its type tell. */
void
evs_row_check(const EvsTable *table, Datum *values, bool *nulls)
{
	if (!nulls[EVS_COLUMN_RECORDED_AT - 1])
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" is filled by evstore", "recorded_at"),
				 errhint("Leave the column out of the INSERT or COPY. Only an event that is restored has its time, and its position.")));
	evs_event_check_stream(text_column(values, nulls, EVS_COLUMN_STREAM));
	evs_row_check_payload(values, nulls);
	conform(table->shapes, values, nulls);
}

/* Add the stripes of a row's type and tags. */
void
evs_row_want_stripes(EvsStripes *stripes, const Datum *values, const bool *nulls)
{
	evs_append_want_stripes(stripes, text_column(values, nulls, EVS_COLUMN_TYPE), tags_column(values, nulls));
}

/* Give a row the version that follows its stream's last one, which is the answer; one that it brings must be that. */
EvsVersion
evs_row_follow(Datum *values, bool *nulls, EvsVersion last)
{
	if (!nulls[EVS_COLUMN_VERSION - 1])
	{
		EvsVersion	given = DatumGetInt64(values[EVS_COLUMN_VERSION - 1]);

		if (given < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("version %lld is not valid", (long long) given),
					 errhint("Versions count from 1. Leave the column out to append whatever the version.")));
		evs_append_check_version(evs_row_stream(values), given - 1, last);
	}
	values[EVS_COLUMN_VERSION - 1] = Int64GetDatum(last + 1);
	nulls[EVS_COLUMN_VERSION - 1] = false;
	return last + 1;
}

/* Give a row its position and time, and why it is appended. */
void
evs_row_place(Datum *values, bool *nulls, EvsPosition position, TimestampTz recorded_at)
{
	values[EVS_COLUMN_POSITION - 1] = Int64GetDatum(position);
	nulls[EVS_COLUMN_POSITION - 1] = false;
	values[EVS_COLUMN_RECORDED_AT - 1] = TimestampTzGetDatum(recorded_at);
	nulls[EVS_COLUMN_RECORDED_AT - 1] = false;
	if (evs_cause_is_known())
	{
		Jsonb	   *metadata = evs_cause_mark(nulls[EVS_COLUMN_METADATA - 1] ? NULL :
											  DatumGetJsonbP(values[EVS_COLUMN_METADATA - 1]));

		values[EVS_COLUMN_METADATA - 1] = PointerGetDatum(metadata);
		nulls[EVS_COLUMN_METADATA - 1] = metadata == NULL;
	}
}
