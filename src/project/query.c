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
 * Where the query computes with its aggregates, what is stored is another one,
 * and the read table is a view over that: see state.c.
 */
#include "evstore.h"

#include "base/owner.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "parser/parsetree.h"
#include "parser/parser.h"
#include "project/aggregate.h"
#include "project/collect.h"
#include "project/check.h"
#include "project/query.h"
#include "project/source.h"
#include "project/union.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/ruleutils.h"

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

/* Add to WHERE, in the tree as written. */
static void
add_conditions(SelectStmt *select, List *conditions)
{
	if (select->whereClause)
		conditions = lcons(select->whereClause, conditions);
	select->whereClause = (Node *) makeBoolExpr(AND_EXPR, conditions, -1);
}

/* A SELECT from an event table gets the bounds of the batch, in the tree as written. */
static void
add_bounds_to(SelectStmt *select, const char *event_alias)
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

/* What the select list turns into; lists of char *, column names quoted. */
typedef struct SelectList
{
	List	   *keys;
	List	   *columns;
	List	   *combinations;	/* the SET list of the upsert */
	List	   *auxiliary;		/* of ResTarget: columns to add */
	bool		ordered;		/* some column collects values in the order of positions */
} SelectList;

/* The column that is the position of the events; of no column, if a union leaves it out. */
static Var *
position_column(const Query *query, Index index)
{
	RangeTblEntry *entry = rt_fetch(index, query->rtable);

	return makeVar(index, evs_union_is_union(entry) ? evs_union_position(entry) : EVS_COLUMN_POSITION,
				   INT8OID, -1, InvalidOid, 0);
}

/* Is this a query whose columns are keys and aggregates, and so can be stored themselves? */
static bool
is_storable(const Query *query, const SelectStmt *select)
{
	ListCell   *cell;
	ListCell   *written;

	forboth(cell, query->targetList, written, select->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (entry->ressortgroupref == 0 &&
			!(IsA(entry->expr, Aggref) && IsA(lfirst_node(ResTarget, written)->val, FuncCall)))
			return false;
	}
	return query->havingQual == NULL;
}

/* Sort the select list into keys and aggregates. */
static void
compile_select_list(const Query *query, const SelectStmt *select, const Var *position, SelectList *list)
{
	ListCell   *cell;
	ListCell   *written;

	Assert(list_length(query->targetList) == list_length(select->targetList));
	forboth(cell, query->targetList, written, select->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		ResTarget  *target = lfirst_node(ResTarget, written);
		char	   *column = pstrdup(quote_identifier(entry->resname));

		/* What is written may change, and its name with it. */
		target->name = entry->resname;
		list->columns = lappend(list->columns, column);
		if (entry->ressortgroupref != 0)
			list->keys = lappend(list->keys, column);
		else
		{
			list->ordered = list->ordered || evs_collect_is_collector(castNode(Aggref, entry->expr));
			evs_aggregate_compile(entry->resname, castNode(Aggref, entry->expr), position, target,
								  &list->auxiliary, &list->combinations);
		}
	}
	if (list->keys == NIL)
		evs_aggregate_count_events(&list->auxiliary, &list->combinations);
	foreach(cell, list->auxiliary)
		list->columns = lappend(list->columns,
								pstrdup(quote_identifier(lfirst_node(ResTarget, cell)->name)));
}

/* A query gets the bounds of the batch, in the tree as written. */
static void
add_bounds(SelectStmt *select, const RangeTblEntry *events)
{
	ListCell   *cell;

	if (!evs_union_is_union(events))
	{
		add_bounds_to(select, events->eref->aliasname);
		return;
	}
	foreach(cell, evs_union_parts(select))
	{
		SelectStmt *part = lfirst_node(SelectStmt, cell);
		RangeVar   *table = linitial_node(RangeVar, part->fromClause);

		add_bounds_to(part, table->alias ? table->alias->aliasname : table->relname);
	}
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

/* Compile a query that can be stored. */
static EvsCompiledQuery *
compile(SelectStmt *select, const char *sql, const Query *query, Index event_index)
{
	EvsCompiledQuery *compiled = palloc0_object(EvsCompiledQuery);
	RangeTblEntry *events = rt_fetch(event_index, query->rtable);
	SelectList	list = {0};

	compile_select_list(query, select, position_column(query, event_index), &list);
	select->targetList = list_concat(select->targetList, list.auxiliary);
	add_bounds(select, events);
	compiled->select = print(select, sql);

	compiled->event_tables = evs_union_is_union(events) ? evs_union_event_tables(events) :
		list_make1_oid(events->relid);
	compiled->keys = list.keys ? join(list.keys) : EVS_NO_KEYS;
	compiled->has_keys = list.keys != NIL;
	compiled->columns = join(list.columns);
	compiled->on_conflict = on_conflict(&list);
	compiled->ordered = list.ordered;
	return compiled;
}

/* Compile the query that a computed one is split off from. */
static EvsCompiledQuery *
compile_state(EvsState *state)
{
	EvsCompiledQuery *compiled;
	EvsOwnerFrame frame;
	RawStmt    *written;
	Query	   *query;

	/* Every name is qualified in it, and must not be captured by anything. */
	evs_owner_begin(&frame, GetUserId(), NULL);
	written = parse_select(state->query);
	query = analyze(copyObject(written), state->query);
	compiled = compile((SelectStmt *) written->stmt, state->query, query, evs_check_range_table(query));
	compiled->state = state;
	evs_owner_end(&frame);
	return compiled;
}

/* Compile the query of a projection, or refuse it. */
EvsCompiledQuery *
evs_query_compile(const char *sql)
{
	RawStmt    *written = parse_select(sql);
	SelectStmt *select = (SelectStmt *) written->stmt;
	Query	   *query;
	Index		event_index;

	(void) evs_source_lock_named(written->stmt, NULL);
	query = analyze(copyObject(written), sql);
	event_index = evs_check_query(query, select);
	if (is_storable(query, select))
		return compile(select, sql, query, event_index);
	return compile_state(evs_state_split(query));
}
