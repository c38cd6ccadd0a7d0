/*
 * condition.c
 *		The condition of an append: no such event after a position.
 *
 * The caller holds the stripes of the criteria (stripe.c). So every event that
 * meets them is either committed, and a snapshot taken now sees it, or it has
 * not got its position yet, and will get a higher one than ours. This is why
 * the check takes a snapshot of its own, under every isolation level.
 *
 * What must be found is everything there is, not what the caller may see: the
 * statement runs as the owner of the table. It is planned anew each time, with
 * "after" known: near the end of the log the primary key finds the few events
 * behind it, further back the index on tags finds those that have them. It
 * counts, where EXISTS would do, because for one row the planner would rather
 * scan and hope to be lucky; a condition that holds has no such row.
 */
#include "evstore.h"

#include "base/counters.h"
#include "base/database.h"
#include "base/errors.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "store/append.h"
#include "store/condition.h"
#include "store/plan.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* Refuse what the owner of the table cannot find out. */
static void
check_owner_sees_all(Relation rel)
{
	if (check_enable_rls(RelationGetRelid(rel), rel->rd_rel->relowner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot check a condition over event table \"%s\"", RelationGetRelationName(rel)),
				 errdetail("Row-level security binds its owner, who would not find every event."),
				 errhint("Run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
}

/* The last position of an event that the condition forbids, 0 if there is none. Call inside SPI. */
static EvsPosition
last_match(const EvsCondition *condition, EvsTable *table)
{
	int			count = 1 + evs_criteria_parameter_count(&condition->criteria);
	Oid		   *types = palloc_array(Oid, count);
	Datum	   *values = palloc_array(Datum, count);
	StringInfoData sql;
	SPIPlanPtr	plan;
	bool		isnull;
	Datum		last;

	types[0] = INT8OID;
	values[0] = Int64GetDatum(condition->after);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT pg_catalog.count(*), pg_catalog.max(\"position\") FROM %s"
						   " WHERE \"position\" OPERATOR(pg_catalog.>) $1");
	evs_criteria_sql(&condition->criteria, &sql, "", 2, types, values);

	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	plan = evs_plan_prepare(table, sql.data, count, types, CURSOR_OPT_CUSTOM_PLAN);
	if (SPI_execute_snapshot(plan, values, NULL, GetLatestSnapshot(), InvalidSnapshot,
							 false, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not check a condition over %s", table->name);
	evs_plan_check(table, plan);
	last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	return isnull ? 0 : DatumGetInt64(last);
}

/* Refuse to append where an event is that the condition forbids. */
void
evs_condition_check(const EvsCondition *condition, EvsTable *table, Relation rel)
{
	EvsOwnerFrame frame;
	EvsPosition last;

	check_owner_sees_all(rel);
	SPI_connect();
	evs_owner_begin(&frame, rel->rd_rel->relowner, NULL);
	last = last_match(condition, table);
	evs_owner_end(&frame);
	SPI_finish();

	if (last == 0)
		return;
	evs_count(evs_database_slot(), EVS_COUNT_CONDITIONS, 1);
	ereport(ERROR,
			(errcode(ERRCODE_EVS_CONDITION_FAILED),
			 errmsg("the condition of the append does not hold"),
			 condition->after == 0 ?
			 errdetail("An event that it forbids stands at position %lld.", (long long) last) :
			 errdetail("An event that it forbids stands at position %lld, after %lld.",
					   (long long) last, (long long) condition->after),
			 errhint("Read the events again and decide anew.")));
}

PG_FUNCTION_INFO_V1(evs_append_if);

/* evstore.append_if(events, query, after, stream, event_table) */
Datum
evs_append_if(PG_FUNCTION_ARGS)
{
	EvsAppend	append = {.expected = EVS_ANY_VERSION};
	EvsCondition condition = {.after = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2)};

	evs_append_require_writable();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the array of events must not be null")));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the query must not be null"),
				 errhint("A query for every event is {}.")));
	if (condition.after < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("after must not be negative")));
	evs_criteria_from_json(PG_GETARG_JSONB_P(1), &condition.criteria);
	append.events = evs_events_from_array(PG_GETARG_ARRAYTYPE_P(0), &append.count);
	if (!PG_ARGISNULL(3))
	{
		append.stream = PG_GETARG_TEXT_PP(3);
		evs_event_check_stream(append.stream);
	}

	evs_append(evs_table_argument(fcinfo, 4), &append, 1, &condition);
	return evs_append_result(&append);
}
