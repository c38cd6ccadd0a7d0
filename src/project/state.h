/*
 * state.h
 *		A query whose result is computed from what is stored.
 */
#ifndef EVSTORE_STATE_H
#define EVSTORE_STATE_H

#include "nodes/parsenodes.h"

/* The two halves of such a query. */
typedef struct EvsState
{
	char	   *query;			/* what is stored: keys and aggregates */
	List	   *targets;		/* what users read, computed from the columns of that */
	Node	   *having;
} EvsState;

extern EvsState *evs_state_split(Query *query);
extern char *evs_state_view_of(Oid view, Oid table, const char *rows);
extern char *evs_state_view(const EvsState *state, Oid table);
extern char *evs_state_view_over(Oid view, Oid table, const List *columns);

#endif							/* EVSTORE_STATE_H */
