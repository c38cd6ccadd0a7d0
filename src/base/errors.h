/*
 * errors.h
 *		The SQLSTATEs that are evstore's own.
 *
 * The standard keeps the classes that begin with A-H and 0-4 to itself, so
 * evstore's class is VE. docs/reference.md lists them all.
 */
#ifndef EVSTORE_ERRORS_H
#define EVSTORE_ERRORS_H

/* The stream is not at the version that the writer expected. */
#define ERRCODE_EVS_VERSION_CONFLICT	MAKE_SQLSTATE('V', 'E', '0', '0', '1')

/* A guarded table is append-only. */
#define ERRCODE_EVS_APPEND_ONLY			MAKE_SQLSTATE('V', 'E', '0', '0', '5')

#endif							/* EVSTORE_ERRORS_H */
