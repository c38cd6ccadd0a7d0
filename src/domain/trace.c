/*
 * trace.c
 *		What came of what: the events of one correlation, as a tree.
 *
 * The metadata says why each event was appended (store/cause.c). An event of
 * whose cause nothing is known here stands at the root.
 */
#include "evstore.h"

#include "base/owner.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/plan.h"
#include "store/table.h"
#include "utils/builtins.h"

/* $1: the correlation, which may be the name of the event that began it: its id or its position. */
static const char *const trace_sql =
	"WITH RECURSIVE found AS ("
	" SELECT e.*, coalesce(id::text, \"position\"::text) AS name, metadata->>'causation_id' AS cause FROM %s e"
	"  WHERE metadata @> jsonb_build_object('correlation_id', $1)"
	"   OR \"position\" = CASE WHEN $1 ~ '^[0-9]{1,18}$' THEN $1::bigint END"
	"   OR id = CASE WHEN $1 ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN $1::uuid END),"
	" tree AS ("
	" SELECT 0 AS depth, ARRAY[\"position\"] AS path, f.* FROM found f"
	"  WHERE NOT EXISTS (SELECT FROM found c WHERE c.name = f.cause AND c.\"position\" < f.\"position\")"
	" UNION ALL"
	" SELECT t.depth + 1, t.path || f.\"position\", f.* FROM tree t"
	"  JOIN found f ON f.cause = t.name AND f.\"position\" > t.\"position\")"
	" SELECT depth, cause, \"position\", stream, version, recorded_at, type, data, metadata FROM tree ORDER BY path";

PG_FUNCTION_INFO_V1(evs_trace);

/* evstore.trace(correlation_id, event_table) */
Datum
evs_trace(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DestReceiver *receiver = CreateTuplestoreDestReceiver();
	SPIExecuteOptions options = {.dest = receiver};
	Oid			types[] = {TEXTOID};
	Relation	rel;
	EvsTable   *table;
	SPIPlanPtr	plan;
	EvsOwnerFrame frame;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the correlation must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	table = evs_table_open(evs_table_argument(fcinfo, 1), AccessShareLock, &rel);
	SetTuplestoreDestReceiverParams(receiver, result->setResult,
									result->econtext->ecxt_per_query_memory, false, NULL, NULL);
	options.params = makeParamList(1);
	options.params->params[0] = (ParamExternData) {PG_GETARG_DATUM(0), false, PARAM_FLAG_CONST, TEXTOID};

	SPI_connect();
	/* Still the caller, with nothing on the path that could take a name. */
	evs_owner_begin(&frame, GetUserId(), NULL);
	plan = evs_plan_prepare(table, trace_sql, lengthof(types), types, 0);
	if (SPI_execute_plan_extended(plan, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not trace events of %s", table->name);
	evs_plan_check(table, plan);
	evs_owner_end(&frame);
	SPI_finish();
	evs_table_close(rel);
	receiver->rDestroy(receiver);
	return (Datum) 0;
}
