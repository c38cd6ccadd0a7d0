/*
 * statement.h
 *		Checking the statement of a statement projection.
 */
#ifndef EVSTORE_STATEMENT_H
#define EVSTORE_STATEMENT_H

#include "nodes/pg_list.h"

extern void evs_statement_check(const char *sql);
extern List *evs_statement_event_tables(const char *sql, Oid event_table);

#endif							/* EVSTORE_STATEMENT_H */
