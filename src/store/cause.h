/*
 * cause.h
 *		Why an event is appended: correlation and causation.
 */
#ifndef EVSTORE_CAUSE_H
#define EVSTORE_CAUSE_H

#include "base/xact.h"
#include "utils/jsonb.h"

extern const EvsXactSubscriber evs_cause_xact;

extern bool evs_cause_is_known(void);
extern Jsonb *evs_cause_mark(Jsonb *metadata);
extern void evs_cause_forget(void);

#endif							/* EVSTORE_CAUSE_H */
