/*
 * check.h
 *		What the query of a projection may contain.
 */
#ifndef EVSTORE_CHECK_H
#define EVSTORE_CHECK_H

#include "nodes/parsenodes.h"

EVS_NORETURN extern void evs_check_refuse(const char *what, const char *hint);
extern Index evs_check_range_table(const Query *query);
extern Index evs_check_query(Query *query, const SelectStmt *written);

#endif							/* EVSTORE_CHECK_H */
