/*
 * query.h
 *		Turning the query of a projection into the statement of a batch.
 */
#ifndef EVSTORE_QUERY_H
#define EVSTORE_QUERY_H

/* A query that can be maintained. */
typedef struct EvsCompiledQuery
{
	Oid			event_table;
	char	   *select;			/* the query over one batch, with auxiliary columns */
	char	   *keys;			/* column names, quoted, with commas between */
	char	   *columns;		/* the same of all columns, in the order of "select" */
	char	   *on_conflict;	/* how a batch's row and the read table's become one */
} EvsCompiledQuery;

extern EvsCompiledQuery *evs_query_compile(const char *sql);

#endif							/* EVSTORE_QUERY_H */
