/*
 * query.c
 *		Turning the query of a projection into the statement of a batch.
 *
 * The server's own parser reads the query twice. The first reading is checked:
 * what it contains decides whether the query can be maintained. Then the parse
 * tree as written gets the bounds of a batch and the auxiliary columns that
 * aggregate.c asks for, is read again, and is printed by the server with every
 * name qualified. So there is no SQL text in between that we would have to
 * understand, and a name on search_path means for ever what it meant here.
 *
 * What must hold of a query so that "read table = query over the whole log"
 * survives any cutting of the log into batches:
 *	- an event meets the query alone: no window, no subquery, no self-join, and
 *	  no outer join that could leave it out;
 *	- what it contributes is the same whenever it is applied: nothing volatile,
 *	  nothing that reads the clock;
 *	- contributions are grouped by keys that stand in the read table, and
 *	  combine (aggregate.c).
 */
#include "evstore.h"

#include "base/catalog.h"
#include "base/owner.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "parser/analyze.h"
#include "parser/parsetree.h"
#include "parser/parser.h"
#include "project/aggregate.h"
#include "project/query.h"
#include "store/table.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "rewrite/rewriteHandler.h"
#include "utils/ruleutils.h"

/* Refuse something that cannot be maintained, by its name. */
static void
refuse(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot maintain %s in a query projection", what),
			 errhint("%s", hint)));
}

/* Read the text as one SELECT, as written. */
static RawStmt *
parse_select(const char *sql)
{
	List	   *statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	RawStmt    *statement = statements ? linitial_node(RawStmt, statements) : NULL;

	if (list_length(statements) != 1 || !IsA(statement->stmt, SelectStmt) ||
		((SelectStmt *) statement->stmt)->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query of a projection must be one SELECT"),
				 errhint("INSERT, UPDATE, DELETE and MERGE go into a statement projection.")));
	return statement;
}

/* What the server understands by a statement. The statement is consumed. */
static Query *
analyze(RawStmt *statement, const char *sql)
{
	return parse_analyze_fixedparams(statement, sql, NULL, 0, NULL);
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
		refuse("a WITH clause", "Write its query in place of its name.");
	if (query->setOperations != NULL)
		refuse("UNION, INTERSECT or EXCEPT", "Declare one projection for each part.");
	if (query->hasWindowFuncs)
		refuse("window functions", "A later event would change rows of earlier ones; compute them when you read.");
	if (query->distinctClause != NIL)
		refuse("DISTINCT", "GROUP BY makes the rows distinct.");
	if (query->hasTargetSRFs)
		refuse("set-returning functions in the select list", "Call them in FROM.");
	if (query->sortClause != NIL)
		refuse("ORDER BY", "A read table has no order; sort when you read it.");
	if (query->limitCount != NULL || query->limitOffset != NULL)
		refuse("LIMIT or OFFSET", "Keep all rows, and limit when you read.");
	if (query->rowMarks != NIL)
		refuse("FOR UPDATE or FOR SHARE", "Events never change; leave it out.");
	if (query->groupingSets != NIL && !is_grand_total(query))
		refuse("GROUPING SETS, ROLLUP or CUBE", "Declare one projection for each grouping.");
	if (query->havingQual != NULL)
		refuse("HAVING", "A group may satisfy it later; keep all groups, and filter when you read.");
	if (query->hasSubLinks)
		refuse("subqueries", "Join the other table in FROM.");
	if (query->groupClause == NIL && !query->hasAggs)
		refuse("a query without GROUP BY or aggregates",
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

/* The items of FROM: note where the event table stands, refuse what we cannot keep. */
static void
check_range_table(const Query *query, Index *event_index)
{
	ListCell   *cell;
	Index		index = 0;
	Oid			no_view = InvalidOid;

	*event_index = 0;
	foreach(cell, query->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		index++;
		if (entry->rtekind == RTE_SUBQUERY)
			refuse("subqueries in FROM", "Join tables and call functions directly.");
		if (entry->tablesample != NULL)
			refuse("TABLESAMPLE", "Filter with WHERE.");
		if (entry->rtekind == RTE_JOIN && entry->alias != NULL)
			refuse("an alias of a join", "Give each table an alias of its own.");
		if (entry->rtekind != RTE_RELATION)
			continue;
		if (get_rel_persistence(entry->relid) == RELPERSISTENCE_TEMP)
			refuse("a temporary table", "Workers cannot see it; join a permanent one.");
		if (!reads_events((Node *) entry, &no_view))
			continue;
		if (entry->relkind == RELKIND_VIEW)
			refuse("a view over an event table", "Name the event table itself.");
		if (entry->alias != NULL && entry->alias->colnames != NIL)
			refuse("column aliases of the event table", "Call its columns by their names.");
		if (*event_index != 0)
			refuse("more than one event table, or one joined with itself",
				   "Declare one projection for each, or a statement projection.");
		*event_index = index;
	}
	if (*event_index == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the query does not read an event table"),
				 errhint("Event tables are made by evstore.create_event_table().")));
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
		refuse("an outer join that adds rows without an event",
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
		refuse("a whole row", "Name the columns you need: a row changes its type with its table.");
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
		refuse("system columns", "They change when the table is rewritten; use the event's own columns.");
	if (IsA(node, SQLValueFunction))
		refuse("CURRENT_DATE, CURRENT_USER and their like",
			   "They differ from batch to batch; use what the event says.");
	if (check_functions_in_node(node, is_inconstant, &function))
		refuse(psprintf("function %s", format_procedure(function)),
			   "Its result differs from call to call; use what the event says.");
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_constancy, context, 0);
	return expression_tree_walker(node, check_constancy, context);
}

/* Add to WHERE, in the tree as written. */
static void
add_conditions(SelectStmt *select, List *conditions)
{
	if (select->whereClause)
		conditions = lcons(select->whereClause, conditions);
	select->whereClause = (Node *) makeBoolExpr(AND_EXPR, conditions, -1);
}

/* The same query over no events at all: what its read table begins with. */
static SelectStmt *
over_no_events(SelectStmt *select)
{
	SelectStmt *empty = copyObject(select);
	A_Const    *never = makeNode(A_Const);

	never->val.boolval.type = T_Boolean;
	never->val.boolval.boolval = false;
	never->location = -1;
	add_conditions(empty, list_make1(never));
	return empty;
}

/*
 * A query without keys has a row even where it finds no event. That row stands
 * in the read table from the beginning, and a batch need not write it again.
 */
static void
skip_empty(SelectStmt *select)
{
	FuncCall   *count = makeFuncCall(SystemFuncName("count"), NIL, COERCE_EXPLICIT_CALL, -1);
	A_Const    *zero = makeNode(A_Const);

	count->agg_star = true;
	zero->val.ival.type = T_Integer;
	zero->val.ival.ival = 0;
	zero->location = -1;
	select->havingClause = (Node *) makeA_Expr(AEXPR_OP, SystemFuncName(">"),
											   (Node *) count, (Node *) zero, -1);
}

/* The event table's item gets the bounds of the batch, in the tree as written. */
static void
add_bounds(SelectStmt *select, const char *event_alias)
{
	static const char *const operators[] = {">", "<="};
	static const char *const functions[] = {"_batch_from", "_batch_to"};
	List	   *conditions = NIL;

	for (int i = 0; i < lengthof(operators); i++)
	{
		ColumnRef  *column = makeNode(ColumnRef);
		FuncCall   *bound = makeFuncCall(list_make2(makeString(EVS_EXTENSION),
													makeString(pstrdup(functions[i]))),
										 NIL, COERCE_EXPLICIT_CALL, -1);
		A_Expr	   *condition;

		column->fields = list_make2(makeString(pstrdup(event_alias)), makeString("position"));
		column->location = -1;
		condition = makeA_Expr(AEXPR_OP, SystemFuncName(pstrdup(operators[i])),
							   (Node *) column, (Node *) bound, -1);
		conditions = lappend(conditions, condition);
	}
	add_conditions(select, conditions);
}

/* Refuse a column of the select list that the read table cannot have. */
static void
check_column_name(const TargetEntry *entry, List *others)
{
	ListCell   *cell;

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
	foreach(cell, others)
		if (strcmp(lfirst(cell), quote_identifier(entry->resname)) == 0)
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
			refuse("* in the select list", "Name the columns.");
	}
}

/* What the select list turns into; lists of char *, column names quoted. */
typedef struct SelectList
{
	List	   *keys;
	List	   *columns;
	List	   *combinations;	/* the SET list of the upsert */
	List	   *auxiliary;		/* of ResTarget: columns to add */
} SelectList;

/* Sort the select list into keys and aggregates. */
static void
compile_select_list(const Query *query, const SelectStmt *select, SelectList *list)
{
	ListCell   *cell;
	int			written = 0;

	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		Node	   *expression = (Node *) entry->expr;
		ResTarget  *target;

		if (entry->resjunk)
			refuse("a GROUP BY expression that is not selected", "Add it to the select list.");
		target = list_nth_node(ResTarget, select->targetList, written++);
		check_column_name(entry, list->columns);
		list->columns = lappend(list->columns, pstrdup(quote_identifier(entry->resname)));

		if (entry->ressortgroupref != 0)
			list->keys = lappend(list->keys, pstrdup(quote_identifier(entry->resname)));
		else if (IsA(expression, Aggref) && IsA(target->val, FuncCall))
			evs_aggregate_compile(entry->resname, (Aggref *) expression, (FuncCall *) target->val,
								  &list->auxiliary, &list->combinations);
		else if (contain_agg_clause(expression))
			refuse(psprintf("an expression over aggregates (column \"%s\")", entry->resname),
				   "Select the aggregates, and compute with them when you read.");
		else
			refuse(psprintf("column \"%s\", which is neither a key nor an aggregate", entry->resname),
				   "Add it to GROUP BY.");
	}
	Assert(written == list_length(select->targetList));

	foreach(cell, list->auxiliary)
		list->columns = lappend(list->columns,
								pstrdup(quote_identifier(lfirst_node(ResTarget, cell)->name)));
}

/* Strings with commas between. */
static char *
join(List *strings)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	foreach(cell, strings)
		appendStringInfo(&out, "%s%s", foreach_current_index(cell) > 0 ? ", " : "",
						 (char *) lfirst(cell));
	return out.data;
}

/* The text of a query with every name in full. */
static char *
print(SelectStmt *select, const char *sql)
{
	RawStmt    *statement = makeNode(RawStmt);
	Query	   *query;
	EvsOwnerFrame frame;
	char	   *text;

	statement->stmt = (Node *) select;
	query = analyze(statement, sql);

	/* With nothing but pg_catalog on the path, every other name is qualified. */
	evs_owner_begin(&frame, GetUserId(), NULL);
	text = pg_get_querydef(query, false);
	evs_owner_end(&frame);
	return text;
}

/* How the rows of a batch and those of the read table become one. */
static char *
on_conflict(const SelectList *list)
{
	char	   *target = list->keys ? join(list->keys) : EVS_NO_KEYS;

	return list->combinations == NIL ? psprintf("(%s) DO NOTHING", target) :
		psprintf("(%s) DO UPDATE SET %s", target, join(list->combinations));
}

/* Compile the query of a projection, or refuse it. */
EvsCompiledQuery *
evs_query_compile(const char *sql)
{
	EvsCompiledQuery *compiled = palloc0_object(EvsCompiledQuery);
	RawStmt    *written = parse_select(sql);
	SelectStmt *select = (SelectStmt *) written->stmt;
	Query	   *query = analyze(copyObject(written), sql);
	SelectList	list = {0};
	Index		event_index;
	ListCell   *cell;
	RangeTblEntry *events;

	check_clauses(query);
	check_range_table(query, &event_index);
	foreach(cell, query->jointree->fromlist)
		check_joins(lfirst(cell), event_index);
	(void) query_tree_walker(query, check_constancy, NULL, 0);
	check_no_star(select);
	compile_select_list(query, select, &list);

	events = rt_fetch(event_index, query->rtable);
	select->targetList = list_concat(select->targetList, list.auxiliary);
	compiled->initial = print(over_no_events(select), sql);
	add_bounds(select, events->eref->aliasname);
	if (list.keys == NIL)
		skip_empty(select);
	compiled->select = print(select, sql);

	compiled->event_table = events->relid;
	compiled->keys = list.keys ? join(list.keys) : EVS_NO_KEYS;
	compiled->has_keys = list.keys != NIL;
	compiled->columns = join(list.columns);
	compiled->on_conflict = on_conflict(&list);
	return compiled;
}
