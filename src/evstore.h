/*
 * evstore.h
 *		The vocabulary that every file of evstore shares.
 *
 * The nouns (stream, version, position, safe position, projection, read
 * table, checkpoint) are defined in docs/architecture.md; this header only
 * gives them their C types.
 */
#ifndef EVSTORE_H
#define EVSTORE_H

#include "postgres.h"

#include "compat.h"

#define EVS_EXTENSION	"evstore"	/* name of the extension and its schema */

/* A version counts from 1 within its stream; 0 says "no event yet". */
typedef int64 EvsVersion;

/* A position rises over the whole database; 0 stands before every event. */
typedef int64 EvsPosition;

/* Index of a database in every shared array that has one element for each. */
typedef int EvsDatabaseSlot;

#endif							/* EVSTORE_H */
