/*
 * advisory.h
 *		Classes of the advisory locks that evstore takes: the last field of
 *		their tag. Users' advisory locks are of class 1 and 2.
 */
#ifndef EVSTORE_ADVISORY_H
#define EVSTORE_ADVISORY_H

#define EVS_LOCK_STRIPE		0xE5	/* store/stripe.c: event table, stripe */
#define EVS_LOCK_PREPARED	0xE6	/* store/prepared.c: the low of a prepared transaction */
#define EVS_LOCK_NAME		0xE7	/* project/declare.c: 0, hash of a projection's name */
#define EVS_LOCK_COMMAND	0xE8	/* domain/execute.c: event table, hash of a stream or command id */
#define EVS_LOCK_MODE		0xE9	/* project/mode.c: 0, id of a projection */
#define EVS_LOCK_SOURCE		0xEA	/* project/source.c: event table, 0 */

#endif							/* EVSTORE_ADVISORY_H */
