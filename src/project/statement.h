/*
 * statement.h
 *		Checking the statement of a statement projection.
 */
#ifndef EVSTORE_STATEMENT_H
#define EVSTORE_STATEMENT_H

extern void evs_statement_check(const char *sql);

#endif							/* EVSTORE_STATEMENT_H */
