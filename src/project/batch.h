/*
 * batch.h
 *		Applying one batch of events to one projection.
 */
#ifndef EVSTORE_BATCH_H
#define EVSTORE_BATCH_H

#include "project/progress.h"

extern bool evs_batch_apply(int projection, EvsReach *reach, EvsPosition safe, bool *empty);
extern bool evs_batch_was_overtaken(void);

#endif							/* EVSTORE_BATCH_H */
