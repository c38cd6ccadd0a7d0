/*
 * statement.c
 *		Checking the statement of a statement projection.
 *
 * The statement runs as it was written, over the batch view, under the
 * search_path that was in force when it was declared. All that can be checked
 * beforehand is that the server understands it, and that its owner may run it.
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
