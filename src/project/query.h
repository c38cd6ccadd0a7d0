/*
 * query.h
 *		Turning the query of a projection into the statement of a batch.
 */
#ifndef EVSTORE_QUERY_H
#define EVSTORE_QUERY_H

#include "nodes/pg_list.h"
#include "project/state.h"

/* In place of the keys where there are none: equal in all rows, so that there is one. */
#define EVS_NO_KEYS "(true)"

/* A query that can be maintained. */
typedef struct EvsCompiledQuery
{
	List	   *event_tables;	/* of Oid */
	char	   *select;			/* the query over one batch, with auxiliary columns */
	char	   *keys;			/* column names, quoted, with commas between; EVS_NO_KEYS if there are none */
	bool		has_keys;
	char	   *columns;		/* the same of all columns, in the order of "select" */
	char	   *on_conflict;	/* how a batch's row and the read table's become one */
	EvsState   *state;			/* the view over the table that all this makes, NULL if that is the read table */
	bool		ordered;		/* only if batches come in the order of their positions */
} EvsCompiledQuery;

extern EvsCompiledQuery *evs_query_compile(const char *sql);

#endif							/* EVSTORE_QUERY_H */
