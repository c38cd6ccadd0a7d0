/*
 * prepared.h
 *		Prepared transactions that have appended.
 */
#ifndef EVSTORE_PREPARED_H
#define EVSTORE_PREPARED_H

#include "base/shmem.h"
#include "datatype/timestamp.h"
#include "nodes/nodes.h"

/* One transaction that was prepared after it had appended. */
typedef struct EvsPrepared
{
	Oid			database;		/* InvalidOid where the element is free */
	TransactionId xid;
	uint64		low;			/* at or below every position of the transaction */
	TimestampTz since;			/* 0 if it was prepared before the server's start */
} EvsPrepared;

extern const EvsShmemPart evs_prepared_shmem;

extern void evs_prepared_add(uint64 low, TimestampTz since);
extern uint64 evs_prepared_lowest(uint64 lowest);
extern EvsPrepared *evs_prepared_list(int *count);
extern void evs_prepared_after_utility(Node *statement);

#endif							/* EVSTORE_PREPARED_H */
