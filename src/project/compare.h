/*
 * compare.h
 *		Comparing a table with what it should hold.
 */
#ifndef EVSTORE_COMPARE_H
#define EVSTORE_COMPARE_H

#include "project/projection.h"

/* The name by which a merge finds the rows that differ. */
#define EVS_COMPARE_ROWS "_different_rows"

/* A table, and what of it is compared. */
typedef struct EvsCompared
{
	Oid			relid;
	char	   *name;			/* qualified and quoted */
	List	   *columns;		/* of EvsComparedColumn */
	bool		keyed;			/* rows are told apart by their key; else by all they hold */
	int			shard;			/* of a query's, only the rows of this shard are compared, */
	int			shards;			/* of so many */
} EvsCompared;

extern EvsCompared *evs_compare_describe(const EvsProjection *projection, Oid relid);
extern char *evs_compare_report(const EvsCompared *table, const char *expected, double sample, bool name_table);
extern char *evs_compare_differences(const EvsCompared *table, const char *expected);
extern List *evs_compare_merge(const EvsCompared *table);

#endif							/* EVSTORE_COMPARE_H */
