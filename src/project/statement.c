/*
 * statement.c
 *		Checking the statement of a statement projection.
 *
 * The statement runs as it was written, over the batch view, under the
 * search_path that was in force when it was declared. All that can be checked
 * beforehand is that it is one the server understands and that a batch may run.
 */
#include "evstore.h"

#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "project/statement.h"

/* Refuse what a batch cannot run; call inside SPI. */
void
evs_statement_check(const char *sql)
{
	List	   *statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	ListCell   *cell;
	SPIPlanPtr	plan;

	if (statements == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the statement of a projection must not be empty")));
	foreach(cell, statements)
	{
		Node	   *statement = lfirst_node(RawStmt, cell)->stmt;

		if (!IsA(statement, InsertStmt) && !IsA(statement, UpdateStmt) &&
			!IsA(statement, DeleteStmt) && !IsA(statement, MergeStmt) &&
			!(IsA(statement, SelectStmt) && ((SelectStmt *) statement)->intoClause == NULL))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the statement of a projection must be INSERT, UPDATE, DELETE, MERGE or SELECT"),
					 errhint("Anything else can be done inside a function that the statement calls.")));
	}

	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "could not prepare the statement: %s", SPI_result_code_string(SPI_result));
	SPI_freeplan(plan);
}
