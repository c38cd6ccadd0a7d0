/*
 * check.c
 *		What the query of a projection may contain.
 *
 * What must hold of a query so that "read table = query over the whole log"
 * survives any cutting of the log into batches:
 *	- an event meets the query alone: no window, no subquery, no self-join, and
 *	  no outer join that could leave it out;
 *	- what it contributes is the same whenever it is applied: nothing volatile,
 *	  nothing that reads the clock;
 *	- contributions are grouped by keys that stand in the read table, and
 *	  combine (aggregate.c).
 * Whatever breaks this is refused, by name.
 */
#include "evstore.h"

#include "access/table.h"
#include "base/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "project/check.h"
#include "project/union.h"
#include "rewrite/rewriteHandler.h"
#include "store/table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

/* Refuse something that cannot be maintained, by its name. */
void
evs_check_refuse(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot maintain %s in a query projection", what),
			 errhint("%s", hint)));
}

/* Is there one group of everything, whether GROUP BY () says so or nothing does? */
static bool
is_grand_total(const Query *query)
{
	return query->groupClause == NIL &&
		(query->groupingSets == NIL ||
		 (list_length(query->groupingSets) == 1 &&
		  linitial_node(GroupingSet, query->groupingSets)->kind == GROUPING_SET_EMPTY));
}

/* Refuse clauses that look at more than one event, or at their order. */
static void
check_clauses(const Query *query)
{
	if (query->cteList != NIL)
		evs_check_refuse("a WITH clause", "Write its query in place of its name.");
	if (query->setOperations != NULL)
		evs_check_refuse("UNION, INTERSECT or EXCEPT", "Declare one projection for each part.");
	if (query->hasWindowFuncs)
		evs_check_refuse("window functions", "A later event would change rows of earlier ones; compute them when you read.");
	if (query->distinctClause != NIL)
		evs_check_refuse("DISTINCT", "GROUP BY makes the rows distinct.");
	if (query->hasTargetSRFs)
		evs_check_refuse("set-returning functions in the select list", "Call them in FROM.");
	if (query->sortClause != NIL)
		evs_check_refuse("ORDER BY", "A read table has no order; sort when you read it.");
	if (query->limitCount != NULL || query->limitOffset != NULL)
		evs_check_refuse("LIMIT or OFFSET", "Keep all rows, and limit when you read.");
	if (query->rowMarks != NIL)
		evs_check_refuse("FOR UPDATE or FOR SHARE", "Events never change; leave it out.");
	if (query->groupingSets != NIL && !is_grand_total(query))
		evs_check_refuse("GROUPING SETS, ROLLUP or CUBE", "Declare one projection for each grouping.");
	if (query->hasSubLinks)
		evs_check_refuse("subqueries", "Join the other table in FROM.");
	if (query->groupClause == NIL && !query->hasAggs)
		evs_check_refuse("a query without GROUP BY or aggregates",
			   "Group by at least one key, or select aggregates over all events.");
}

/*
 * Does a query, through whatever views, read an event table? "context" is the
 * oid of the view that the query is of: up to PostgreSQL 15, a view's range
 * table has the view itself in it, for the sake of rules.
 */
static bool
reads_events(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		if (entry->rtekind != RTE_RELATION || entry->relid == *(Oid *) context)
			return false;
		if (entry->relkind == RELKIND_VIEW)
		{
			Relation	view = table_open(entry->relid, AccessShareLock);
			bool		answer = reads_events((Node *) get_view_query(view), &entry->relid);

			table_close(view, AccessShareLock);
			return answer;
		}
		return evs_table_is_event_table(entry->relid);
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_events, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reads_events, context);
}

/* The items of FROM: find where the event table stands, or the union of several; refuse what we cannot keep. */
Index
evs_check_range_table(const Query *query)
{
	ListCell   *cell;
	Index		index = 0;
	Index		event_index = 0;
	Oid			no_view = InvalidOid;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		index++;
		if (entry->rtekind == RTE_SUBQUERY && !evs_union_is_union(entry))
			evs_check_refuse("subqueries in FROM", "Join tables and call functions directly.");
		if (entry->rtekind == RTE_SUBQUERY)
			evs_union_check(entry);
		if (entry->tablesample != NULL)
			evs_check_refuse("TABLESAMPLE", "Filter with WHERE.");
		if (entry->rtekind == RTE_JOIN && entry->alias != NULL)
			evs_check_refuse("an alias of a join", "Give each table an alias of its own.");
		if (entry->rtekind == RTE_RELATION && get_rel_persistence(entry->relid) == RELPERSISTENCE_TEMP)
			evs_check_refuse("a temporary table", "Workers cannot see it; join a permanent one.");
		if (entry->rtekind != RTE_SUBQUERY && !reads_events((Node *) entry, &no_view))
			continue;
		if (entry->rtekind == RTE_RELATION && entry->relkind == RELKIND_VIEW)
			evs_check_refuse("a view over an event table", "Name the event table itself.");
		if (entry->rtekind == RTE_RELATION && entry->alias != NULL && entry->alias->colnames != NIL)
			evs_check_refuse("column aliases of the event table", "Call its columns by their names.");
		if (event_index != 0)
			evs_check_refuse("more than one event table, or one joined with itself",
							 "Put several together with UNION ALL in FROM; events cannot be joined with events.");
		event_index = index;
	}
	if (event_index == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the query does not read an event table"),
				 errhint("Event tables are made by evstore.create_event_table().")));
	return event_index;
}

/* Does a join tree contain an item? */
static bool
contains_item(Node *tree, Index index)
{
	if (IsA(tree, RangeTblRef))
		return ((RangeTblRef *) tree)->rtindex == index;
	return contains_item(((JoinExpr *) tree)->larg, index) ||
		contains_item(((JoinExpr *) tree)->rarg, index);
}

/* Refuse joins in which a missing partner, rather than WHERE, would hide an event. */
static void
check_joins(Node *tree, Index event_index)
{
	JoinExpr   *join;

	if (!IsA(tree, JoinExpr))
		return;
	join = (JoinExpr *) tree;
	if (join->jointype == JOIN_FULL ||
		(join->jointype == JOIN_LEFT && contains_item(join->rarg, event_index)) ||
		(join->jointype == JOIN_RIGHT && contains_item(join->larg, event_index)))
		evs_check_refuse("an outer join that adds rows without an event",
			   "Put the event table on the side that is kept whole.");
	check_joins(join->larg, event_index);
	check_joins(join->rarg, event_index);
}

/*
 * STABLE functions of PostgreSQL's whose answer is the session's or the
 * transaction's: constant within a batch, another in the next.
 */
static const char *const of_the_moment[] = {
	"now", "transaction_timestamp", "statement_timestamp",
	"txid_current", "txid_current_if_assigned", "txid_current_snapshot",
	"pg_current_xact_id", "pg_current_xact_id_if_assigned", "pg_current_snapshot",
	"pg_backend_pid", "current_setting", "current_query", "current_schema", "current_schemas",
	"inet_client_addr", "inet_client_port", "inet_server_addr", "inet_server_port",
	"pg_postmaster_start_time", "pg_conf_load_time",
};

/* Is this a function whose answer depends on when and where it is called? */
static bool
is_inconstant(Oid function, void *context)
{
	Oid			schema = get_func_namespace(function);
	char	   *name = get_func_name(function);
	bool		inconstant = func_volatile(function) == PROVOLATILE_VOLATILE ||
		function == F_AGE_TIMESTAMP || function == F_AGE_TIMESTAMPTZ;

	if (schema == PG_CATALOG_NAMESPACE)
		for (int i = 0; i < lengthof(of_the_moment) && !inconstant; i++)
			inconstant = strcmp(name, of_the_moment[i]) == 0;
	else if (schema == evs_catalog()->schema)
		inconstant = inconstant || get_func_prokind(function) != PROKIND_AGGREGATE;
	if (inconstant)
		*(Oid *) context = function;
	return inconstant;
}

/* Find and refuse what is not the same at every time. */
static bool
check_constancy(Node *node, void *context)
{
	Oid			function = InvalidOid;

	if (node == NULL)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varattno == 0)
		evs_check_refuse("a whole row", "Name the columns you need: a row changes its type with its table.");
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
		evs_check_refuse("system columns", "They change when the table is rewritten; use the event's own columns.");
	if (IsA(node, SQLValueFunction))
		evs_check_refuse("CURRENT_DATE, CURRENT_USER and their like",
			   "They differ from batch to batch; use what the event says.");
	if (check_functions_in_node(node, is_inconstant, &function))
		evs_check_refuse(psprintf("function %s", format_procedure(function)),
			   "Its result differs from call to call; use what the event says.");
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_constancy, context, 0);
	return expression_tree_walker(node, check_constancy, context);
}

/* Refuse a column of the select list that the read table cannot have. */
static void
check_column(const TargetEntry *entry, const List *targets)
{
	ListCell   *cell;

	if (entry->resjunk)
		evs_check_refuse("a GROUP BY expression that is not selected", "Add it to the select list.");
	if (strcmp(entry->resname, "?column?") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("column %d of the query has no name", entry->resno),
				 errhint("Name it with AS.")));
	if (entry->resname[0] == '_')
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("column name \"%s\" begins with an underscore", entry->resname),
				 errdetail("Such names are kept for the columns that evstore adds.")));
	foreach(cell, targets)
		if (lfirst(cell) != entry && !lfirst_node(TargetEntry, cell)->resjunk &&
			strcmp(lfirst_node(TargetEntry, cell)->resname, entry->resname) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" stands twice in the query", entry->resname)));
}

/* Refuse "*": its columns would change with the table, and do not stand in the list as written. */
static void
check_no_star(const SelectStmt *select)
{
	ListCell   *cell;

	foreach(cell, select->targetList)
	{
		Node	   *item = lfirst_node(ResTarget, cell)->val;
		Node	   *last = NULL;

		if (IsA(item, ColumnRef))
			last = llast(((ColumnRef *) item)->fields);
		else if (IsA(item, A_Indirection))
			last = llast(((A_Indirection *) item)->indirection);
		if (last && IsA(last, A_Star))
			evs_check_refuse("* in the select list", "Name the columns.");
	}
}


/*
 * Refuse a query that cannot be maintained. Returns where the event table
 * stands in its range table. Aggregates are looked at by aggregate.c, and what
 * is computed from them by state.c.
 */
Index
evs_check_query(Query *query, const SelectStmt *written)
{
	Index		event_index;
	ListCell   *cell;

	check_clauses(query);
	event_index = evs_check_range_table(query);
	foreach(cell, query->jointree->fromlist)
		check_joins(lfirst(cell), event_index);
	(void) query_tree_walker(query, check_constancy, NULL, 0);
	check_no_star(written);
	foreach(cell, query->targetList)
		check_column(lfirst_node(TargetEntry, cell), query->targetList);
	return event_index;
}
