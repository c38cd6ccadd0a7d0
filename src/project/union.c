/*
 * union.c
 *		Several event tables in one query.
 *
 *	FROM (SELECT ... FROM events UNION ALL SELECT ... FROM payments) e
 *
 * stands where one event table would. Positions are one sequence over all event
 * tables, so a batch is the events of all of them between two positions, and
 * every part gets the same bounds. A part is a plain SELECT from one event
 * table: each event goes through it by itself.
 */
#include "evstore.h"

#include "catalog/pg_class.h"
#include "parser/parsetree.h"
#include "project/check.h"
#include "project/union.h"
#include "store/table.h"

/* Is an item of FROM a union of queries? */
bool
evs_union_is_union(const RangeTblEntry *entry)
{
	return entry->rtekind == RTE_SUBQUERY && entry->subquery->setOperations != NULL;
}

/* Add the parts of a tree of set operations, each a Query, to a list. */
static void
collect_parts(const Query *query, Node *tree, List **parts)
{
	SetOperationStmt *operation;

	if (IsA(tree, RangeTblRef))
	{
		*parts = lappend(*parts, rt_fetch(((RangeTblRef *) tree)->rtindex, query->rtable)->subquery);
		return;
	}
	operation = castNode(SetOperationStmt, tree);
	if (operation->op != SETOP_UNION || !operation->all)
		evs_check_refuse("UNION without ALL, INTERSECT or EXCEPT in FROM",
						 "It compares events with one another; put them together with UNION ALL.");
	collect_parts(query, operation->larg, parts);
	collect_parts(query, operation->rarg, parts);
}

/* The parts of a union, each a Query. */
static List *
get_parts(const RangeTblEntry *entry)
{
	List	   *parts = NIL;

	collect_parts(entry->subquery, entry->subquery->setOperations, &parts);
	return parts;
}

/* The event table that a part reads. */
static const RangeTblEntry *
part_table(const Query *part)
{
	return linitial_node(RangeTblEntry, part->rtable);
}

/* Is a part a plain SELECT from one event table? */
static bool
is_plain(const Query *part)
{
	const RangeTblEntry *table;

	if (list_length(part->rtable) != 1 || list_length(part->jointree->fromlist) != 1 ||
		part->setOperations || part->hasAggs || part->hasWindowFuncs || part->hasTargetSRFs ||
		part->hasSubLinks || part->cteList || part->distinctClause || part->groupClause ||
		part->groupingSets || part->havingQual || part->sortClause || part->limitCount ||
		part->limitOffset || part->rowMarks)
		return false;
	table = part_table(part);
	return table->rtekind == RTE_RELATION && table->relkind != RELKIND_VIEW && table->tablesample == NULL &&
		(table->alias == NULL || table->alias->colnames == NIL) && evs_table_is_event_table(table->relid);
}

/* Refuse a union that cannot be cut into batches. */
void
evs_union_check(const RangeTblEntry *entry)
{
	const Query *whole = entry->subquery;
	ListCell   *cell;

	if (entry->lateral || whole->cteList || whole->sortClause || whole->limitCount || whole->limitOffset ||
		whole->rowMarks)
		evs_check_refuse("LATERAL, WITH, ORDER BY or LIMIT of a UNION ALL in FROM",
						 "Put together whole event tables, and filter each with WHERE.");
	foreach(cell, get_parts(entry))
		if (!is_plain(lfirst_node(Query, cell)))
			evs_check_refuse("a part of UNION ALL that is not a plain SELECT from one event table",
							 "Write each part as SELECT columns FROM event table WHERE condition.");
}

/* The oids of the event tables that a union reads, each once. */
List *
evs_union_event_tables(const RangeTblEntry *entry)
{
	List	   *tables = NIL;
	ListCell   *cell;

	foreach(cell, get_parts(entry))
		tables = list_append_unique_oid(tables, part_table(lfirst_node(Query, cell))->relid);
	return tables;
}

/* The column of a union that is the event's position in every part, 0 if there is none. */
AttrNumber
evs_union_position(const RangeTblEntry *entry)
{
	List	   *parts = get_parts(entry);

	for (AttrNumber column = 1; column <= list_length(entry->eref->colnames); column++)
	{
		bool		everywhere = true;
		ListCell   *cell;

		foreach(cell, parts)
		{
			TargetEntry *target = list_nth_node(TargetEntry, lfirst_node(Query, cell)->targetList, column - 1);

			everywhere = everywhere && IsA(target->expr, Var) &&
				((Var *) target->expr)->varattno == EVS_COLUMN_POSITION;
		}
		if (everywhere)
			return column;
	}
	return 0;
}

/* Add the parts of a SELECT as written, each a SelectStmt, to a list. */
static void
collect_written(SelectStmt *select, List **parts)
{
	if (select->op == SETOP_NONE)
	{
		*parts = lappend(*parts, select);
		return;
	}
	collect_written(select->larg, parts);
	collect_written(select->rarg, parts);
}

/* The union in an item of FROM as written, NULL if there is none in it. */
static SelectStmt *
find_written(Node *item)
{
	SelectStmt *found;

	if (IsA(item, RangeSubselect))
		return castNode(SelectStmt, ((RangeSubselect *) item)->subquery);
	if (!IsA(item, JoinExpr))
		return NULL;
	found = find_written(((JoinExpr *) item)->larg);
	return found ? found : find_written(((JoinExpr *) item)->rarg);
}

/* The parts of the one union in FROM of a query as written, each a SelectStmt. */
List *
evs_union_parts(const SelectStmt *select)
{
	List	   *parts = NIL;
	ListCell   *cell;

	foreach(cell, select->fromClause)
	{
		SelectStmt *found = find_written(lfirst(cell));

		if (found)
			collect_written(found, &parts);
	}
	return parts;
}
