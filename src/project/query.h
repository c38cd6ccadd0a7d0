/*
 * query.h
 *		Turning the query of a projection into the statement of a batch.
 */
#ifndef EVSTORE_QUERY_H
#define EVSTORE_QUERY_H

#include "nodes/pg_list.h"

/* A query that can be maintained. */
typedef struct EvsCompiledQuery
{
	Oid			event_table;
	char	   *select;			/* the query over one batch, with auxiliary columns */
	List	   *keys;			/* of char *, quoted column names */
	List	   *columns;		/* of char *, quoted, in the order of "select" */
	List	   *combinations;	/* of char *, the SET list of the upsert */
} EvsCompiledQuery;

extern EvsCompiledQuery *evs_query_compile(const char *sql);
extern char *evs_query_upsert(const EvsCompiledQuery *query, const char *read_table);

#endif							/* EVSTORE_QUERY_H */
