/*
 * explain.c
 *		evstore.explain_projection(): what a batch runs, and how it is planned.
 *
 * The plans are those of a worker: under its planner settings, under the
 * settings and the rights of the projection's owner, and for the bounds of a
 * batch. Nothing is run.
 */
#include "evstore.h"

#include "base/owner.h"
#include "catalog/namespace.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "project/apply.h"
#include "project/checkpoint.h"
#include "project/projection.h"
#include "project/view.h"
#include "project/rows.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* What is explained, and where it is written. */
typedef struct Explanation
{
	EvsProjection *projection;
	char	   *sql;			/* what applies a batch */
	StringInfoData text;
} Explanation;

/* Append lines with spaces before each. */
static void
append_indented(StringInfo text, const char *lines)
{
	while (*lines)
	{
		int			length = strcspn(lines, "\n");

		if (length > 0)
			appendStringInfo(text, "  %.*s\n", length, lines);
		lines += length;
		if (*lines == '\n')
			lines++;
	}
}

/* Append the plans of all statements, as the server prints them. */
static void
append_plans(void *argument, const EvsBounds *bounds)
{
	Explanation *explanation = argument;
	const char *sql = explanation->sql;
	ListCell   *cell;

	foreach(cell, raw_parser(sql, RAW_PARSE_DEFAULT))
	{
		RawStmt    *statement = lfirst_node(RawStmt, cell);
		int			length = statement->stmt_len ? statement->stmt_len : strlen(sql) - statement->stmt_location;

		if (SPI_execute(psprintf("EXPLAIN %.*s", length, sql + statement->stmt_location), false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not explain a batch");
		for (uint64 row = 0; row < SPI_processed; row++)
			append_indented(&explanation->text, SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1));
	}
}

/* Append the plan of the query that a big batch of a query projection runs by itself. */
static void
append_catchup_plan(void *argument, const EvsBounds *bounds)
{
	Explanation *explanation = argument;
	char	   *select = evs_view_select(explanation->projection);
	ExplainState *state = NewExplainState();
	QueryDesc  *query;
	PlannedStmt *plan;

	PushActiveSnapshot(GetTransactionSnapshot());
	plan = evs_rows_plan(select, bounds, 1);
	query = CreateQueryDesc(plan, select, GetActiveSnapshot(), InvalidSnapshot, None_Receiver, NULL, NULL, 0);
	ExecutorStart(query, EXEC_FLAG_EXPLAIN_ONLY);
	state->costs = true;
	ExplainBeginOutput(state);
	ExplainPrintPlan(state, query);
	ExplainEndOutput(state);
	ExecutorEnd(query);
	FreeQueryDesc(query);
	PopActiveSnapshot();
	append_indented(&explanation->text, state->str->data);
}

/* The query that is kept as the projection's view. */
static char *
view_query(const EvsProjection *projection)
{
	RangeVar   *view = makeRangeVar(EVS_EXTENSION, psprintf("_batch_%d", projection->id), -1);
	Oid			relid = RangeVarGetRelid(view, AccessShareLock, false);
	char	   *select = TextDatumGetCString(DirectFunctionCall2(pg_get_viewdef_ext, ObjectIdGetDatum(relid),
																 BoolGetDatum(true)));

	/* A view's definition begins with a space, and ends with a semicolon. */
	select[0] = '\n';
	select[strlen(select) - 1] = '\n';
	return select;
}

/* The statement that applies a batch of a query, with the query in place of the view that holds it. */
static char *
query_statement(const EvsProjection *projection)
{
	return evs_view_upsert(projection,
								 quote_qualified_identifier(get_namespace_name(get_rel_namespace(projection->state_table)),
															get_rel_name(projection->state_table)),
								 evs_view_rows(projection, psprintf("(%s) batch", view_query(projection))));
}

/* Explain all of it, as the owner. */
static void
explain(Explanation *explanation, EvsPosition checkpoint)
{
	EvsProjection *projection = explanation->projection;
	EvsBounds	small = {.from = checkpoint, .to = checkpoint + 1};
	EvsBounds	big = {.from = 0, .to = projection->batch_size};
	EvsOwnerFrame frame;

	evs_owner_begin(&frame, projection->owner, projection->settings);
	explanation->sql = projection->kind == EVS_STATEMENT ? projection->definition :
		projection->kind == EVS_QUERY ? query_statement(projection) : view_query(projection);
	appendStringInfo(&explanation->text, "Statement of a batch, run as role %s:\n",
					 quote_identifier(GetUserNameFromId(projection->owner, false)));
	append_indented(&explanation->text, explanation->sql);

	if (projection->shards > 1)
		appendStringInfo(&explanation->text, "Each of %d shards applies batches of its own; the plans are those of the first.\n",
						 projection->shards);
	if (projection->kind == EVS_HANDLER)
		appendStringInfoString(&explanation->text, "Plan of a batch:\n");
	else
		appendStringInfo(&explanation->text, "Plan of a small batch, up to %d positions:\n", EVS_FEW_EVENTS);
	evs_apply_imagine(projection, small, append_plans, explanation);
	if (projection->batch_size > EVS_FEW_EVENTS && projection->kind == EVS_QUERY)
	{
		appendStringInfoString(&explanation->text, "Plan of a big batch, whose query runs first, by itself:\n");
		evs_apply_imagine(projection, big, append_catchup_plan, explanation);
	}
	else if (projection->batch_size > EVS_FEW_EVENTS && projection->kind == EVS_STATEMENT)
	{
		appendStringInfoString(&explanation->text, "Plan of a big batch:\n");
		evs_apply_imagine(projection, big, append_plans, explanation);
	}
	evs_owner_end(&frame);
}

/*
 * Lock what planning will lock: the tables that a batch writes, if its owner may,
 * and then what it reads. Whoever puts a rebuild in place has the former first.
 */
static void
lock_tables(const EvsProjection *projection)
{
	ListCell   *cell;

	foreach(cell, projection->kind == EVS_QUERY ? list_make1_oid(projection->state_table) : projection->read_tables)
	{
		bool		is_missing = false;
		AclResult	writable = pg_class_aclcheck_ext(lfirst_oid(cell), projection->owner,
													 ACL_INSERT | ACL_UPDATE | ACL_DELETE, &is_missing);

		LockRelationOid(lfirst_oid(cell), writable == ACLCHECK_OK && !is_missing ? RowExclusiveLock : AccessShareLock);
	}
	evs_view_lock(projection, AccessShareLock);
}

PG_FUNCTION_INFO_V1(evs_explain_projection);

/* evstore.explain_projection(name) */
Datum
evs_explain_projection(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			id = evs_projection_find_own(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Explanation explanation;
	EvsReach	reach;
	char	   *line;
	char	   *rest;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	initStringInfo(&explanation.text);
	SPI_connect();
	explanation.projection = evs_projection_load(id);
	if (explanation.projection)
	{
		/* An inline one has no checkpoint: any few positions will do. */
		if (!evs_checkpoint_read(id, &reach))
			reach.checkpoint = 0;
		lock_tables(explanation.projection);
		evs_apply_check(explanation.projection);
		/* What the view was before it was locked is gone. */
		PushActiveSnapshot(GetTransactionSnapshot());
		explain(&explanation, reach.checkpoint);
		PopActiveSnapshot();
	}
	SPI_finish();

	for (line = strtok_r(explanation.text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
	{
		Datum		value = CStringGetTextDatum(line);
		bool		isnull = false;

		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}
