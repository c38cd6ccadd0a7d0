/*
 * state.c
 *		A query whose result is computed from what is stored.
 *
 * "sum(a) / count(*)" over two batches do not combine, but sum(a) and count(*)
 * do. And a group that HAVING leaves out today may be in tomorrow. So what is
 * stored is a query of another shape: the keys, and each aggregate that occurs
 * anywhere, once. What the user asked for is a view over it, in which columns
 * of the stored table stand for keys and aggregates.
 */
#include "evstore.h"

#include "access/attmap.h"
#include "access/table.h"
#include "base/owner.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "project/check.h"
#include "project/state.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* The column of the stored table that holds an expression; makes it if "name" is given. */
static TargetEntry *
stored_column(List **columns, Expr *expression, char *name)
{
	ListCell   *cell;
	TargetEntry *column;

	foreach(cell, *columns)
	{
		column = lfirst_node(TargetEntry, cell);
		if (equal(column->expr, expression))
			return column;
	}
	if (name == NULL)
		return NULL;
	column = makeTargetEntry(copyObject(expression), list_length(*columns) + 1, name, false);
	*columns = lappend(*columns, column);
	return column;
}

/* A column of the query that no group has one value of. */
static char *
column_name(const Query *query, const Var *var)
{
	return psprintf("column \"%s\", which is neither a key nor inside an aggregate",
					get_rte_attribute_name(rt_fetch(var->varno, query->rtable), var->varattno));
}

/* What compute() works on. */
typedef struct Computation
{
	Query	   *query;
	List	   *columns;		/* of TargetEntry: what is stored */
} Computation;

/* A copy of an expression, computed from the stored columns; adds the aggregates that it lacks. */
static Node *
compute(Node *node, void *context)
{
	Computation *computation = context;
	List	  **columns = &computation->columns;
	TargetEntry *column;

	if (node == NULL)
		return NULL;
	column = stored_column(columns, (Expr *) node, NULL);
	if (column == NULL && IsA(node, Aggref))
		column = stored_column(columns, (Expr *) node,
							   psprintf("_value_%d", list_length(*columns) + 1));
	if (column)
		return (Node *) makeVar(1, column->resno, exprType(node), exprTypmod(node), exprCollation(node), 0);
	if (IsA(node, GroupingFunc))
		evs_check_refuse("GROUPING", "All rows are of the one grouping there is.");
	if (EVS_IS_JSON_AGGREGATE(node))
		evs_check_refuse("JSON_ARRAYAGG or JSON_OBJECTAGG",
						 "Use jsonb_agg(x ORDER BY position) or jsonb_object_agg(k, x ORDER BY position).");
	if (IsA(node, Var))
		evs_check_refuse(column_name(computation->query, (Var *) node), "Add it to GROUP BY.");
	return expression_tree_mutator(node, compute, context);
}

/* The text of a query, with every name qualified. */
static char *
print(Query *query)
{
	EvsOwnerFrame frame;
	char	   *text;

	evs_owner_begin(&frame, GetUserId(), NULL);
	text = pg_get_querydef(query, false);
	evs_owner_end(&frame);
	return text;
}

/*
 * Split a query that has been checked. Keys, and aggregates that are columns by
 * themselves, keep their names in the stored table.
 */
EvsState *
evs_state_split(Query *query)
{
	EvsState   *state = palloc0_object(EvsState);
	Computation computation = {.query = query};
	Query	   *stored;
	ListCell   *cell;

	EVS_FLATTEN_GROUPS(query);
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		TargetEntry *column = NULL;

		if (target->ressortgroupref != 0 || IsA(target->expr, Aggref))
			column = stored_column(&computation.columns, target->expr, target->resname);
		if (column && target->ressortgroupref != 0)
			column->ressortgroupref = target->ressortgroupref;
	}
	foreach(cell, query->targetList)
	{
		TargetEntry *target = flatCopyTargetEntry(lfirst_node(TargetEntry, cell));

		target->expr = (Expr *) compute((Node *) target->expr, &computation);
		target->ressortgroupref = 0;
		state->targets = lappend(state->targets, target);
	}
	state->having = compute(query->havingQual, &computation);

	stored = copyObject(query);
	stored->targetList = computation.columns;
	stored->havingQual = NULL;
	stored->hasAggs = contain_agg_clause((Node *) computation.columns);
	state->query = print(stored);
	return state;
}

/* The text of the view that computes the result from the stored table. */
char *
evs_state_view(const EvsState *state, Oid table)
{
	Query	   *view = makeNode(Query);
	ParseState *parse = make_parsestate(NULL);
	Relation	rel = table_open(table, AccessShareLock);
	RangeTblRef *item = makeNode(RangeTblRef);

	item->rtindex = addRangeTableEntryForRelation(parse, rel, AccessShareLock, NULL, true, true)->p_rtindex;
	view->commandType = CMD_SELECT;
	view->canSetTag = true;
	view->rtable = parse->p_rtable;
	view->jointree = makeFromExpr(list_make1(item), state->having);
	view->targetList = state->targets;
	table_close(rel, NoLock);
	return print(view);
}

/* What is put in the place of a stored table in its view. */
typedef struct Replacement
{
	Oid			table;
	const char *rows;			/* text of a query */
	const char *view;
	bool		done;
} Replacement;

/* Put it wherever the view reads the table. The view may have been changed since we made it. */
static bool
replace_table(Node *node, void *context)
{
	Replacement *replacement = context;
	RangeTblEntry *entry;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, replace_table, context, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, Var) && ((Var *) node)->varattno < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("view \"%s\" reads a system column, such as ctid", replacement->view),
				 errdetail("The rows that it is to show are computed, and have none.")));
	if (!IsA(node, RangeTblEntry))
		return expression_tree_walker(node, replace_table, context);

	entry = (RangeTblEntry *) node;
	if (entry->rtekind == RTE_RELATION && entry->relid == replacement->table)
	{
		entry->rtekind = RTE_SUBQUERY;
		entry->relid = InvalidOid;
		entry->subquery = parse_analyze_fixedparams(linitial_node(RawStmt, pg_parse_query(replacement->rows)),
													replacement->rows, NULL, 0, NULL);
		replacement->done = true;
	}
	return false;
}

/* The text of such a view as it is now, over the rows of a query in place of those of the stored table. */
char *
evs_state_view_of(Oid view, Oid table, const char *rows)
{
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query = copyObject(get_view_query(rel));
	Replacement replacement = {table, rows, RelationGetRelationName(rel)};

	(void) replace_table((Node *) query, &replacement);
	if (!replacement.done)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view \"%s\" does not read the table that its projection keeps", RelationGetRelationName(rel))));
	table_close(rel, NoLock);
	return print(query);
}

/* The columns of a table, by the numbers that those of the same names have in another. */
static AttrMap *
map_columns(Oid from, Oid to)
{
	Relation	rel = table_open(from, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	AttrMap    *map = make_attrmap(desc->natts);

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			map->attnums[i] = get_attnum(to, NameStr(TupleDescAttr(desc, i)->attname));
	table_close(rel, NoLock);
	return map;
}

/* The target of this name. */
static TargetEntry *
find_target(const Query *query, const char *name)
{
	ListCell   *cell;

	foreach(cell, query->targetList)
		if (strcmp(lfirst_node(TargetEntry, cell)->resname, name) == 0)
			return lfirst_node(TargetEntry, cell);
	elog(ERROR, "view has no column \"%s\"", name);
}

/*
 * The text of such a view over another table than its own, which has the same
 * columns and maybe more, in any order, and with its result's columns in this one.
 */
char *
evs_state_view_over(Oid view, Oid table, const List *columns)
{
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query = copyObject(get_view_query(rel));
	List	   *targets = NIL;
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);
		int			index = foreach_current_index(cell) + 1;
		bool		whole_row;

		/* Up to PostgreSQL 15, a view's rule names the view itself, too. */
		if (entry->rtekind != RTE_RELATION || entry->relid == view)
			continue;
		query = (Query *) map_variable_attnos((Node *) query, index, 0, map_columns(entry->relid, table),
											  InvalidOid, &whole_row);
		rt_fetch(index, query->rtable)->relid = table;
		break;
	}
	foreach(cell, columns)
		targets = lappend(targets, find_target(query, lfirst(cell)));
	query->targetList = targets;
	table_close(rel, NoLock);
	return print(query);
}
