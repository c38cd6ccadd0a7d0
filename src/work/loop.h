/*
 * loop.h
 *		What the main loops of all evstore processes have in common.
 */
#ifndef EVSTORE_LOOP_H
#define EVSTORE_LOOP_H

#include "datatype/timestamp.h"

extern void evs_loop_signals(void);
extern int	evs_loop_connect(Oid *database);
extern void evs_loop_begin(const char *activity);
extern void evs_loop_end(void);
extern void evs_loop_sleep(TimestampTz until, uint32 wait_event);

#endif							/* EVSTORE_LOOP_H */
