/*
 * batch.h
 *		Applying one batch of events to one projection.
 */
#ifndef EVSTORE_BATCH_H
#define EVSTORE_BATCH_H

#include "project/projection.h"

extern void evs_batch_prepare_process(void);
extern EvsPosition evs_batch_apply(int projection, EvsPosition from, EvsPosition safe);
extern void evs_batch_forget_plans(void);

#endif							/* EVSTORE_BATCH_H */
