/*
 * retry.h
 *		Idempotent retries: is this append stored already?
 */
#ifndef EVSTORE_RETRY_H
#define EVSTORE_RETRY_H

#include "store/append.h"
#include "store/table.h"

extern bool evs_retry_has_ids(const EvsAppend *append);
extern bool evs_retry_find(EvsTable *table, Relation rel, EvsAppend *append, TransactionId *unfinished);
extern void evs_retry_refuse_partial(void);
extern void evs_retry_refuse_id(const char *detail);

#endif							/* EVSTORE_RETRY_H */
