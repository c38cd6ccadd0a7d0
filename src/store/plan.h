/*
 * plan.h
 *		Statements over an event table, kept prepared.
 */
#ifndef EVSTORE_PLAN_H
#define EVSTORE_PLAN_H

#include "executor/spi.h"
#include "store/table.h"

extern SPIPlanPtr evs_plan_prepare(EvsTable *table, const char *sql, int nargs, Oid *argtypes, int cursor_options);
extern SPIPlanPtr evs_plan_prepare_over(EvsTable *table, const char *name, const char *sql, int nargs,
										Oid *argtypes, int cursor_options);
extern void evs_plan_check(const EvsTable *table, SPIPlanPtr plan);
extern void evs_plan_free_all(EvsTable *table);

#endif							/* EVSTORE_PLAN_H */
