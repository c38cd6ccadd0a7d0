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

/* Some events of an append are stored already, under the ids given, and some are not. */
#define ERRCODE_EVS_PARTIAL_RETRY		MAKE_SQLSTATE('V', 'E', '0', '0', '2')

/* The id of an event belongs to another event. */
#define ERRCODE_EVS_ID_IN_USE			MAKE_SQLSTATE('V', 'E', '0', '0', '3')

/* An event that the condition of an append forbids is there. */
#define ERRCODE_EVS_CONDITION_FAILED	MAKE_SQLSTATE('V', 'E', '0', '0', '4')

/* A guarded table is append-only. */
#define ERRCODE_EVS_APPEND_ONLY			MAKE_SQLSTATE('V', 'E', '0', '0', '5')

/* A read table did not come as far as the session has appended, in time. */
#define ERRCODE_EVS_NOT_FRESH			MAKE_SQLSTATE('V', 'E', '0', '0', '6')

/* The data of an event are not what its type says. */
#define ERRCODE_EVS_INVALID_EVENT		MAKE_SQLSTATE('V', 'E', '0', '1', '0')

/* An event type has no such version. */
#define ERRCODE_EVS_NO_SCHEMA_VERSION	MAKE_SQLSTATE('V', 'E', '0', '1', '1')

/* What an upcaster returns leads nowhere. */
#define ERRCODE_EVS_UPCASTER			MAKE_SQLSTATE('V', 'E', '0', '1', '2')

#endif							/* EVSTORE_ERRORS_H */
