/*
 * statement.c
 *		Checking the statement of a statement projection.
 *
 * The statement runs as it was written, over the batch view, under the
 * search_path that was in force when it was declared. All that can be checked
 * beforehand is that the server understands it, and that its owner may run it.
 */
#include "evstore.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "project/statement.h"
#include "rewrite/rewriteHandler.h"
#include "store/table.h"
#include "utils/rel.h"

/* Refuse what a batch cannot run; call inside SPI. */
void
evs_statement_check(const char *sql)
{
	List	   *statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	ListCell   *cell;

	if (statements == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the statement of a projection must not be empty")));
	foreach(cell, statements)
	{
		RawStmt    *statement = lfirst_node(RawStmt, cell);
		int			length = statement->stmt_len ? statement->stmt_len : strlen(sql) - statement->stmt_location;

		if (!IsA(statement->stmt, InsertStmt) && !IsA(statement->stmt, UpdateStmt) &&
			!IsA(statement->stmt, DeleteStmt) && !IsA(statement->stmt, MergeStmt) &&
			!(IsA(statement->stmt, SelectStmt) && ((SelectStmt *) statement->stmt)->intoClause == NULL))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the statement of a projection must be INSERT, UPDATE, DELETE, MERGE or SELECT"),
					 errhint("Anything else can be done inside a function that the statement calls.")));

		/* Understood, and allowed to the caller, without being run. */
		if (SPI_execute(psprintf("EXPLAIN %.*s", length, sql + statement->stmt_location), false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not try the statement");
	}
}

/* What a walk through a statement finds. */
typedef struct Walk
{
	List	   *event_tables;
	Oid			view;			/* the one that is being looked into, InvalidOid in the statement itself */
} Walk;

/* Find the event tables that stand behind views. */
static bool
find_event_tables(Node *node, void *context)
{
	Walk	   *walk = context;
	RangeTblEntry *entry;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_event_tables, context, QTW_EXAMINE_RTES_BEFORE);
	if (!IsA(node, RangeTblEntry))
		return expression_tree_walker(node, find_event_tables, context);

	entry = (RangeTblEntry *) node;
	/* Up to PostgreSQL 15, a view's range table has the view itself in it. */
	if (entry->rtekind != RTE_RELATION || entry->relid == walk->view)
		return false;
	if (entry->relkind == RELKIND_VIEW)
	{
		Relation	view = table_open(entry->relid, AccessShareLock);
		Oid			outer = walk->view;

		walk->view = entry->relid;
		(void) find_event_tables((Node *) get_view_query(view), context);
		walk->view = outer;
		table_close(view, AccessShareLock);
	}
	else if (OidIsValid(walk->view) && evs_table_is_event_table(entry->relid))
		walk->event_tables = list_append_unique_oid(walk->event_tables, entry->relid);
	return false;
}

/*
 * The event tables whose events a statement may be about: the one it was
 * declared for, and those whose batch views it reads. A batch of it is passed
 * over only where none of them has an event. Call inside SPI.
 */
List *
evs_statement_event_tables(const char *sql, Oid event_table)
{
	Walk		walk = {.event_tables = list_make1_oid(event_table)};
	ListCell   *cell;

	foreach(cell, raw_parser(sql, RAW_PARSE_DEFAULT))
		(void) find_event_tables((Node *) parse_analyze_fixedparams(lfirst_node(RawStmt, cell), sql, NULL, 0, NULL), &walk);
	return walk.event_tables;
}
