/*
 * read.c
 *		Reading events: plain SELECTs over the table, run with the caller's
 *		rights, whose rows go straight into the function's result.
 *
 * The statements name their operators by schema: whatever stands on the
 * caller's search_path, they mean PostgreSQL's own.
 *
 * Memory stays flat however many events there are: the executor hands over
 * one row at a time, and the result spills to disk beyond work_mem.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/params.h"
#include "store/event.h"
#include "store/position.h"
#include "store/table.h"
#include "utils/builtins.h"

#define EVENT_COLUMNS \
	"\"position\", version, recorded_at, schema_version, id, stream, type, data, metadata, tags"

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

/* Run a table's statement; its rows become the result of the calling function. */
static void
return_rows(FunctionCallInfo fcinfo, EvsTable *table, EvsTablePlan which, const char *sql,
			int count, Oid *types, Datum *values, bool *nulls)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SPIExecuteOptions options = {0};
	DestReceiver *receiver = CreateTuplestoreDestReceiver();

	SetTuplestoreDestReceiverParams(receiver, result->setResult,
									result->econtext->ecxt_per_query_memory,
									false, NULL, NULL);
	SPI_connect();
	options.params = make_params(count, types, values, nulls);
	options.dest = receiver;
	/* Not read-only: each call takes a snapshot of its own (see read_events). */
	if (SPI_execute_plan_extended(evs_table_plan(table, which, sql, count, types), &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read events of %s", table->name);
	SPI_finish();
	receiver->rDestroy(receiver);
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
PG_FUNCTION_INFO_V1(evs_stream_version);

/* evstore.read_stream(stream, from_version, max_count, backwards, event_table) */
Datum
evs_read_stream(PG_FUNCTION_ARGS)
{
	bool		backwards = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	Oid			types[] = {TEXTOID, INT8OID, INT8OID};
	Datum		values[3];
	bool		nulls[3] = {false, PG_ARGISNULL(1), PG_ARGISNULL(2)};
	Relation	rel;
	EvsTable   *table;

	evs_event_check_stream(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	check_not_negative(fcinfo, 1, "from_version");
	check_not_negative(fcinfo, 2, "max_count");
	for (int i = 0; i < 3; i++)
		values[i] = PG_GETARG_DATUM(i);

	InitMaterializedSRF(fcinfo, 0);
	table = evs_table_open(evs_table_argument(fcinfo, 4), AccessShareLock, &rel);
	if (backwards)
		return_rows(fcinfo, table, EVS_PLAN_READ_STREAM_BACKWARDS,
					"SELECT " EVENT_COLUMNS " FROM %s WHERE stream OPERATOR(pg_catalog.=) $1"
					" AND version OPERATOR(pg_catalog.<=) coalesce($2, 9223372036854775807)"
					" ORDER BY version DESC LIMIT $3", 3, types, values, nulls);
	else
		return_rows(fcinfo, table, EVS_PLAN_READ_STREAM,
					"SELECT " EVENT_COLUMNS " FROM %s WHERE stream OPERATOR(pg_catalog.=) $1"
					" AND version OPERATOR(pg_catalog.>=) coalesce($2, 1)"
					" ORDER BY version LIMIT $3", 3, types, values, nulls);
	evs_table_close(rel);
	return (Datum) 0;
}

/*
 * evstore.read_events(after_position, max_count, types, categories, event_table)
 *
 * The safe position is read first, and the statement's snapshot is taken
 * after it (invariant 4). Under repeatable read there is only the
 * transaction's old snapshot, so that is refused.
 */
Datum
evs_read_events(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID, INT8OID, TEXTARRAYOID, TEXTARRAYOID, INT8OID};
	Datum		values[5];
	bool		nulls[5];
	Relation	rel;
	EvsTable   *table;

	evs_shmem_require();
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("evstore.read_events() needs isolation level read committed"),
				 errdetail("The snapshot of this transaction is older than the safe position.")));
	check_not_negative(fcinfo, 0, "after_position");
	check_not_negative(fcinfo, 1, "max_count");

	for (int i = 0; i < 4; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
	}
	if (nulls[0])
	{
		values[0] = Int64GetDatum(0);
		nulls[0] = false;
	}

	InitMaterializedSRF(fcinfo, 0);
	table = evs_table_open(evs_table_argument(fcinfo, 4), AccessShareLock, &rel);
	values[4] = Int64GetDatum(evs_position_safe());
	nulls[4] = false;
	return_rows(fcinfo, table, EVS_PLAN_READ_EVENTS,
				"SELECT " EVENT_COLUMNS " FROM %s"
				" WHERE \"position\" OPERATOR(pg_catalog.>) $1"
				" AND \"position\" OPERATOR(pg_catalog.<=) $5"
				" AND ($3 IS NULL OR type OPERATOR(pg_catalog.=) ANY ($3))"
				" AND ($4 IS NULL OR pg_catalog.split_part(stream, '-', 1) OPERATOR(pg_catalog.=) ANY ($4))"
				" ORDER BY \"position\" LIMIT $2", 5, types, values, nulls);
	evs_table_close(rel);
	return (Datum) 0;
}

/* evstore.stream_version(stream, event_table) */
Datum
evs_stream_version(PG_FUNCTION_ARGS)
{
	Oid			types[] = {TEXTOID};
	Datum		values[1];
	Relation	rel;
	EvsTable   *table;
	EvsVersion	version;
	bool		isnull;

	evs_event_check_stream(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	values[0] = PG_GETARG_DATUM(0);
	table = evs_table_open(evs_table_argument(fcinfo, 1), AccessShareLock, &rel);
	SPI_connect();
	if (SPI_execute_plan(evs_table_plan(table, EVS_PLAN_STREAM_VERSION,
										"SELECT coalesce(pg_catalog.max(version), 0) FROM %s"
										" WHERE stream OPERATOR(pg_catalog.=) $1", 1, types),
						 values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a stream's version");
	version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	evs_table_close(rel);
	PG_RETURN_INT64(version);
}
