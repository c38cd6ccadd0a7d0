/*
 * recompute.h
 *		What the events up to a position make of a projection's read tables.
 */
#ifndef EVSTORE_RECOMPUTE_H
#define EVSTORE_RECOMPUTE_H

#include "project/projection.h"
#include "utils/tuplestore.h"

/* A projection, or a shard of it, and up to where it is computed. */
typedef struct EvsStanding
{
	EvsProjection *projection;
	EvsPosition position;
} EvsStanding;

/* Writes a query over what is expected of a read table, which it can read under a name. */
typedef char *(*EvsRecomputedQuery) (const EvsProjection *projection, Oid read_table,
									 const char *expected, void *context);

extern void evs_recompute(List *standings, List *read_tables, EvsRecomputedQuery query, void *context,
						  Tuplestorestate *rows);
extern void evs_recompute_check_caller(const EvsProjection *projection);

#endif							/* EVSTORE_RECOMPUTE_H */
