/*
 * read.c
 *		Reading events: plain SELECTs over the table, run with the caller's
 *		rights, whose rows go straight into the function's result.
 *
 * Old events are shown in the newest shape of their type (upcast.c), unless
 * evstore.raw is on. Criteria are about events as they were written, whichever
 * are shown: that is what a condition holds against (condition.c).
 *
 * The statements name their operators by schema: whatever stands on the
 * caller's search_path, they mean PostgreSQL's own.
 *
 * Memory stays flat however many events there are: the executor hands over
 * one row at a time, and the result spills to disk beyond work_mem.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "store/criteria.h"
#include "store/event.h"
#include "store/plan.h"
#include "store/position.h"
#include "store/read.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define EVENT_COLUMNS \
	"\"position\", version, recorded_at, schema_version, id, stream, type, data, metadata, tags"

/* The safe position of this session's last read, if it read all there was up to there; else negative. */
static EvsPosition read_position = -1;

/* A parameter list of "count" values. */
static ParamListInfo
make_params(int count, const Oid *types, const Datum *values, const bool *nulls)
{
	ParamListInfo params = makeParamList(count);

	for (int i = 0; i < count; i++)
	{
		params->params[i].ptype = types[i];
		params->params[i].value = values[i];
		params->params[i].isnull = nulls[i];
		params->params[i].pflags = PARAM_FLAG_CONST;
	}
	return params;
}

/*
 * Let no plan sort: the rows of a stream, and those of the log, stand in order
 * in an index, whatever the statistics make of it. There is no expression that
 * would be worth compiling.
 */
static void
read_in_index_order(void)
{
	static const char *const off[] = {"enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"};

	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Run a statement over the events of a table, as they are now or as they were
 * written, give its rows to a receiver, and return their number. Where there is
 * one right plan, it is made for all parameters.
 */
static uint64
read_rows(DestReceiver *receiver, EvsTable *table, bool raw, const char *sql, bool one_plan,
		  int count, Oid *types, Datum *values, bool *nulls)
{
	SPIExecuteOptions options = {0};
	int			guc_level = NewGUCNestLevel();
	int			plans = one_plan ? CURSOR_OPT_GENERIC_PLAN : CURSOR_OPT_CUSTOM_PLAN;
	SPIPlanPtr	plan;
	uint64		rows;

	if (one_plan)
		read_in_index_order();
	SPI_connect();
	options.params = make_params(count, types, values, nulls);
	options.dest = receiver;
	/* Not read-only: each call takes a snapshot of its own (see read_events). */
	plan = evs_plan_prepare_over(table, raw ? table->name : evs_table_events(table), sql, count, types, plans);
	if (SPI_execute_plan_extended(plan, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read events of %s", table->name);
	evs_plan_check(table, plan);
	rows = SPI_processed;
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
	return rows;
}

/* The same, as the session wants to see events; the rows become the result of the calling function. */
static uint64
return_rows(FunctionCallInfo fcinfo, EvsTable *table, const char *sql, bool one_plan,
			int count, Oid *types, Datum *values, bool *nulls)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DestReceiver *receiver = CreateTuplestoreDestReceiver();
	uint64		rows;

	SetTuplestoreDestReceiverParams(receiver, result->setResult,
									result->econtext->ecxt_per_query_memory,
									false, NULL, NULL);
	rows = read_rows(receiver, table, evs_raw, sql, one_plan, count, types, values, nulls);
	receiver->rDestroy(receiver);
	return rows;
}

/* Of the statement that reads a stream. */
#define OF_STREAM "SELECT " EVENT_COLUMNS " FROM %s WHERE stream OPERATOR(pg_catalog.=) $1"
#define AFTER " AND version OPERATOR(pg_catalog.>) $2"
#define UP_TO " AND version OPERATOR(pg_catalog.<=) $3"
#define IN_ORDER " ORDER BY version"

/*
 * Give the events of a stream, after a version up to another, to a receiver; returns how many there were.
 * A condition that holds for every event is left out: the index looks at it for each entry.
 */
uint64
evs_read_stream_into(DestReceiver *receiver, EvsTable *table, const text *stream,
					 EvsVersion after, EvsVersion to)
{
	Oid			types[] = {TEXTOID, INT8OID, INT8OID};
	Datum		values[] = {PointerGetDatum(stream), Int64GetDatum(after), Int64GetDatum(to)};
	bool		nulls[] = {false, false, false};
	static const char *const statements[2][2] = {
		{OF_STREAM IN_ORDER, OF_STREAM UP_TO IN_ORDER}, {OF_STREAM AFTER IN_ORDER, OF_STREAM AFTER UP_TO IN_ORDER}
	};

	return read_rows(receiver, table, false, statements[after > 0][to < PG_INT64_MAX], true,
					 lengthof(types), types, values, nulls);
}

/*
 * Find the last event of a stream that is stored after a version up to another;
 * false if there is none. An upcaster may leave it out of what is read.
 */
bool
evs_read_stream_end(EvsTable *table, const text *stream, EvsVersion after, EvsVersion to,
					EvsVersion *version, EvsPosition *position)
{
	Oid			types[] = {TEXTOID, INT8OID, INT8OID};
	Datum		values[] = {PointerGetDatum(stream), Int64GetDatum(after), Int64GetDatum(to)};
	SPIPlanPtr	plan;
	bool		found;
	bool		isnull;

	SPI_connect();
	plan = evs_plan_prepare(table, "SELECT version, \"position\" FROM %s WHERE stream OPERATOR(pg_catalog.=) $1"
							AFTER UP_TO IN_ORDER " DESC LIMIT 1", lengthof(types), types, 0);
	if (SPI_execute_plan(plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the end of a stream");
	evs_plan_check(table, plan);
	found = SPI_processed > 0;
	if (found)
	{
		*version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		*position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	return found;
}

/*
 * Upcasters may have split an event into pieces. Those stay together, also where
 * "max_count" ends among them: whoever reads on reads on after the event.
 */
#define FORWARDS OF_STREAM " AND version OPERATOR(pg_catalog.>=) coalesce($2, 1)" IN_ORDER
#define BACKWARDS \
	" WHERE stream OPERATOR(pg_catalog.=) $1" \
	" AND version OPERATOR(pg_catalog.<=) coalesce($2, 9223372036854775807)" IN_ORDER " DESC"
#define WHOLE(number) " FETCH FIRST $" number " ROWS WITH TIES"

/* Does this session see the events of a table as they were written? */
static bool
shows_written(const EvsTable *table)
{
	return evs_raw || evs_table_events(table) == table->name;
}

/* Refuse a negative count or version; NULL is "no limit". */
static void
check_not_negative(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (!PG_ARGISNULL(argument) && PG_GETARG_INT64(argument) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", name)));
}

PG_FUNCTION_INFO_V1(evs_read_stream);
PG_FUNCTION_INFO_V1(evs_read_events);
PG_FUNCTION_INFO_V1(evs_read_by);
PG_FUNCTION_INFO_V1(evs_read_position);
PG_FUNCTION_INFO_V1(evs_stream_version);

/* evstore.read_stream(stream, from_version, max_count, backwards, event_table) */
Datum
evs_read_stream(PG_FUNCTION_ARGS)
{
	bool		backwards = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	Oid			types[] = {TEXTOID, INT8OID, INT8OID};
	Datum		values[3];
	bool		nulls[3] = {false, PG_ARGISNULL(1), PG_ARGISNULL(2)};
	static const char *const statements[2][2] = {
		{FORWARDS WHOLE("3"), FORWARDS " LIMIT $3"},
		{"SELECT " EVENT_COLUMNS " FROM (SELECT * FROM %s" BACKWARDS WHOLE("3") ") e ORDER BY version DESC, piece DESC",
		"SELECT " EVENT_COLUMNS " FROM %s" BACKWARDS " LIMIT $3"}
	};
	Relation	rel;
	EvsTable   *table;

	evs_event_check_stream(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	check_not_negative(fcinfo, 1, "from_version");
	check_not_negative(fcinfo, 2, "max_count");
	for (int i = 0; i < 3; i++)
		values[i] = PG_GETARG_DATUM(i);

	InitMaterializedSRF(fcinfo, 0);
	table = evs_table_open(evs_table_argument(fcinfo, 4), AccessShareLock, &rel);
	return_rows(fcinfo, table, statements[backwards][shows_written(table)], true, 3, types, values, nulls);
	evs_table_close(rel);
	return (Datum) 0;
}

/*
 * Refuse to read up to the safe position where its events cannot be seen: the
 * safe position is read first, and the statement's snapshot is taken after it
 * (invariant 4). Under repeatable read there is only the transaction's old one.
 */
static void
require_new_snapshot(const char *function)
{
	evs_shmem_require();
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s needs isolation level read committed", function),
				 errdetail("The snapshot of this transaction is older than the safe position.")));
}

/* A read up to the safe position has given so many rows, and was asked for no more than "max_count" (NULL: any number). */
static void
note_read_position(FunctionCallInfo fcinfo, int max_count, EvsPosition safe, uint64 rows)
{
	bool		cut_short = !PG_ARGISNULL(max_count) && rows >= (uint64) PG_GETARG_INT64(max_count);

	read_position = cut_short ? -1 : safe;
}

/* The position to read after; NULL stands before every event. */
static Datum
after_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	check_not_negative(fcinfo, argument, name);
	return PG_ARGISNULL(argument) ? Int64GetDatum(0) : PG_GETARG_DATUM(argument);
}

#define OF_LOG \
	"SELECT " EVENT_COLUMNS " FROM %s" \
	" WHERE \"position\" OPERATOR(pg_catalog.>) $1" \
	" AND \"position\" OPERATOR(pg_catalog.<=) $5" \
	" AND ($3 IS NULL OR type OPERATOR(pg_catalog.=) ANY ($3))" \
	" AND ($4 IS NULL OR pg_catalog.split_part(stream, '-', 1) OPERATOR(pg_catalog.=) ANY ($4))" \
	" ORDER BY \"position\""

/* evstore.read_events(after_position, max_count, types, categories, event_table) */
Datum
evs_read_events(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID, INT8OID, TEXTARRAYOID, TEXTARRAYOID, INT8OID};
	Datum		values[5];
	bool		nulls[5] = {false, PG_ARGISNULL(1), PG_ARGISNULL(2), PG_ARGISNULL(3), false};
	EvsPosition safe;
	uint64		rows;
	Relation	rel;
	EvsTable   *table;

	require_new_snapshot("evstore.read_events()");
	check_not_negative(fcinfo, 1, "max_count");
	values[0] = after_argument(fcinfo, 0, "after_position");
	for (int i = 1; i < 4; i++)
		values[i] = PG_GETARG_DATUM(i);

	InitMaterializedSRF(fcinfo, 0);
	table = evs_table_open(evs_table_argument(fcinfo, 4), AccessShareLock, &rel);
	safe = evs_position_safe();
	values[4] = Int64GetDatum(safe);
	rows = return_rows(fcinfo, table, shows_written(table) ? OF_LOG " LIMIT $2" : OF_LOG WHOLE("2"),
					   true, 5, types, values, nulls);
	note_read_position(fcinfo, 1, safe, rows);
	evs_table_close(rel);
	return (Datum) 0;
}

/* evstore.read_by(query, after, max_count, event_table) */
Datum
evs_read_by(PG_FUNCTION_ARGS)
{
	EvsCriteria criteria;
	StringInfoData sql;
	Oid		   *types;
	Datum	   *values;
	bool	   *nulls;
	int			count;
	EvsPosition safe;
	uint64		rows;
	Relation	rel;
	EvsTable   *table;

	require_new_snapshot("evstore.read_by()");
	check_not_negative(fcinfo, 2, "max_count");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the query must not be null"),
				 errhint("A query for every event is {}.")));
	evs_criteria_from_json(PG_GETARG_JSONB_P(0), &criteria);

	count = 3 + evs_criteria_parameter_count(&criteria);
	types = palloc_array(Oid, count);
	values = palloc_array(Datum, count);
	nulls = palloc0_array(bool, count);
	types[0] = types[1] = types[2] = INT8OID;
	values[0] = after_argument(fcinfo, 1, "after");
	values[2] = PG_GETARG_DATUM(2);
	nulls[2] = PG_ARGISNULL(2);
	InitMaterializedSRF(fcinfo, 0);
	table = evs_table_open(evs_table_argument(fcinfo, 3), AccessShareLock, &rel);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT " EVENT_COLUMNS " FROM %s"
						   " WHERE \"position\" OPERATOR(pg_catalog.>) $1"
						   " AND \"position\" OPERATOR(pg_catalog.<=) $2");
	evs_criteria_sql(&criteria, &sql, shows_written(table) ? "" : "written_", 4, types, values);
	appendStringInfo(&sql, " ORDER BY \"position\"%s", shows_written(table) ? " LIMIT $3" : WHOLE("3"));
	safe = evs_position_safe();
	values[1] = Int64GetDatum(safe);
	/* Which index serves depends on the tags and on how far back "after" lies. */
	rows = return_rows(fcinfo, table, sql.data, false, count, types, values, nulls);
	note_read_position(fcinfo, 2, safe, rows);
	evs_table_close(rel);
	return (Datum) 0;
}

/* evstore.read_position() */
Datum
evs_read_position(PG_FUNCTION_ARGS)
{
	if (read_position < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(read_position);
}

/* evstore.stream_version(stream, event_table) */
Datum
evs_stream_version(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID};
	Datum		values[1];
	Relation	rel;
	EvsTable   *table;
	SPIPlanPtr	plan;
	EvsVersion	version;
	bool		isnull;

	evs_event_check_stream(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	values[0] = PG_GETARG_DATUM(0);
	table = evs_table_open(evs_table_argument(fcinfo, 1), AccessShareLock, &rel);
	SPI_connect();
	plan = evs_plan_prepare(table, "SELECT coalesce(pg_catalog.max(version), 0) FROM %s"
						  " WHERE stream OPERATOR(pg_catalog.=) $1", 1, types, 0);
	if (SPI_execute_plan(plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a stream's version");
	evs_plan_check(table, plan);
	version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	evs_table_close(rel);
	PG_RETURN_INT64(version);
}
