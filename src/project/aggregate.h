/*
 * aggregate.h
 *		How the results of an aggregate over two batches become one.
 */
#ifndef EVSTORE_AGGREGATE_H
#define EVSTORE_AGGREGATE_H

#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

/* The read table's row, and the batch's, in the upsert. */
#define EVS_OLD	"old"
#define EVS_NEW	"excluded"

/* The auxiliary column of a query without keys. */
#define EVS_EVENTS "_events"

extern void evs_aggregate_count_events(List **auxiliary, List **combinations);
extern void evs_aggregate_compile(const char *column, const Aggref *aggregate, const Var *position, ResTarget *target,
								  List **auxiliary, List **combinations);

#endif							/* EVSTORE_AGGREGATE_H */
