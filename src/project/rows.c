/*
 * rows.c
 *		The rows of a query over the events between two positions.
 *
 * A query that reads events through a projection's view is planned for one pair
 * of bounds, and never again. So the bounds may become constants in its tree,
 * views that it reads included: no row calls a function for them, and the plan
 * may be parallel. That tree is all that is changed: a function that the query
 * calls plans its own statements, may keep their plans, and goes on asking for
 * the bounds.
 *
 * With the bounds as they are in the view, its scan could have no helpers: only
 * this process knows them, so the functions are PARALLEL RESTRICTED.
 *
 * Events that an INSERT has added between those of others are several ranges.
 * They, too, are one query, over the list of their positions.
 */
#include "evstore.h"

#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "project/rows.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/* The function that an expression calls, InvalidOid if it is no such expression. */
static Oid
called_function(const Node *node)
{
	return node && IsA(node, FuncExpr) ? ((const FuncExpr *) node)->funcid : InvalidOid;
}

/* Which bound an expression is: -1 the lower, 1 the upper one, 0 none. */
static int
which_bound(const Node *node)
{
	Oid			function = called_function(node);
	const EvsCatalog *catalog = OidIsValid(function) ? evs_catalog() : NULL;

	if (catalog == NULL)
		return 0;
	if (function == catalog->batch_from_function || function == catalog->shard_from_function)
		return -1;
	return function == catalog->batch_to_function || function == catalog->shard_to_function;
}

/* The constant that stands for a function which tells the shard, NULL if an expression is none. */
static Node *
bound_shard(const Node *node, const EvsBounds *bounds)
{
	Oid			function = called_function(node);
	int			value;

	if (!OidIsValid(function))
		return NULL;
	if (function == evs_catalog()->shard_number_function)
		value = bounds->shard;
	else if (function == evs_catalog()->shard_count_function)
		value = Max(bounds->shards, 1);
	else
		return NULL;
	return (Node *) makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(value), false, true);
}

/* A copy of a tree, with the bounds in place of the functions that return them. */
static Node *
bind_bounds(Node *node, void *context)
{
	const EvsBounds *bounds = context;
	Node	   *shard;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, bind_bounds, context, 0);
	shard = bound_shard(node, bounds);
	if (shard)
		return shard;
	if (which_bound(node) != 0)
		return (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
								  Int64GetDatum(which_bound(node) < 0 ? bounds->from : bounds->to),
								  false, FLOAT8PASSBYVAL);
	return expression_tree_mutator(node, bind_bounds, context);
}

/* The positions of some ranges. */
static ArrayType *
list_positions(const EvsBounds *ranges, int count)
{
	Datum	   *values;
	int			total = 0;

	for (int i = 0; i < count; i++)
		total += ranges[i].to - ranges[i].from;
	values = palloc_array(Datum, total);
	total = 0;
	for (int i = 0; i < count; i++)
		for (EvsPosition position = ranges[i].from + 1; position <= ranges[i].to; position++)
			values[total++] = Int64GetDatum(position);
	return construct_array(values, total, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

/* A copy of a tree, with "is in the list" in place of the comparison with the lower bound, and none with the upper. */
static Node *
bind_positions(Node *node, void *context)
{
	OpExpr	   *comparison;
	int			bound;
	ScalarArrayOpExpr *in_list;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, bind_positions, context, 0);
	comparison = IsA(node, OpExpr) && list_length(((OpExpr *) node)->args) == 2 ? (OpExpr *) node : NULL;
	bound = comparison ? which_bound(lsecond(comparison->args)) : 0;
	if (bound == 0)
		return expression_tree_mutator(node, bind_positions, context);
	if (bound > 0)
		return makeBoolConst(true, false);
	in_list = makeNode(ScalarArrayOpExpr);
	in_list->opno = lookup_type_cache(INT8OID, TYPECACHE_EQ_OPR)->eq_opr;
	in_list->opfuncid = F_INT8EQ;
	in_list->useOr = true;
	in_list->args = list_make2(copyObject(linitial(comparison->args)),
							   makeConst(INT8ARRAYOID, -1, InvalidOid, -1, PointerGetDatum(context), false, false));
	in_list->location = -1;
	return (Node *) in_list;
}

/* The plan of the query for these events. */
PlannedStmt *
evs_rows_plan(const char *select, const EvsBounds *ranges, int count)
{
	RawStmt    *statement = linitial_node(RawStmt, pg_parse_query(select));
	List	   *queries = pg_analyze_and_rewrite_fixedparams(statement, select, NULL, 0, NULL);
	Node	   *query = (Node *) linitial_node(Query, queries);

	if (count == 1)
		query = bind_bounds(query, (void *) ranges);
	else
		query = bind_positions(query, list_positions(ranges, count));
	return pg_plan_query((Query *) query, select, CURSOR_OPT_PARALLEL_OK, NULL);
}

/*
 * Run the query under a snapshot, and keep its rows; whole, whatever becomes of
 * the tables that they come from, if they are to outlive them.
 */
void
evs_rows_keep(PlannedStmt *plan, const char *select, Snapshot snapshot,
			  Tuplestorestate *rows, bool whole)
{
	DestReceiver *keep = CreateDestReceiver(DestTuplestore);
	QueryDesc  *run;

	SetTuplestoreDestReceiverParams(keep, rows, CurrentMemoryContext, whole, NULL, NULL);
	PushActiveSnapshot(snapshot);
	run = CreateQueryDesc(plan, select, GetActiveSnapshot(), InvalidSnapshot, keep, NULL, NULL, 0);
	ExecutorStart(run, 0);
	EVS_EXECUTOR_RUN(run);
	ExecutorFinish(run);
	ExecutorEnd(run);
	FreeQueryDesc(run);
	PopActiveSnapshot();
	keep->rDestroy(keep);
}

/* Let statements of this SPI connection read kept rows, or those still to be kept, by a name. */
void
evs_rows_register(PlannedStmt *plan, Tuplestorestate *rows, const char *name)
{
	EphemeralNamedRelation relation = palloc0_object(EphemeralNamedRelationData);
	int			result;

	relation->md.name = pstrdup(name);
	relation->md.tupdesc = ExecCleanTypeFromTL(plan->planTree->targetlist);
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = plan->planTree->plan_rows;
	relation->reldata = rows;
	result = SPI_register_relation(relation);
	if (result != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register kept rows: %s", SPI_result_code_string(result));
}
