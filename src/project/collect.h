/*
 * collect.h
 *		Aggregates that collect values in the order of positions.
 */
#ifndef EVSTORE_COLLECT_H
#define EVSTORE_COLLECT_H

#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

extern bool evs_collect_is_collector(const Aggref *aggregate);
extern char *evs_collect_compile(const char *column, const Aggref *aggregate, const Var *position, ResTarget *target,
								 const char *old, const char *new);

#endif							/* EVSTORE_COLLECT_H */
