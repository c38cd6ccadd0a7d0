/*
 * mode.h
 *		Who applies a projection: workers, or whoever appends.
 */
#ifndef EVSTORE_MODE_H
#define EVSTORE_MODE_H

#include "project/projection.h"

extern const EvsXactSubscriber evs_mode_xact;

extern bool evs_mode_parse(const char *mode);
extern bool evs_mode_lock(int projection, bool wait);
extern void evs_mode_check_inline(const EvsProjection *projection);
extern EvsPosition evs_mode_last_position(const EvsProjection *projection);
extern void evs_mode_enter_inline(int projection);
extern void evs_mode_leave_inline(int projection);
extern void evs_mode_wait_until_near(int projection);
extern void evs_mode_follow(const List *event_tables);
extern void evs_mode_tidy(const List *event_tables);

#endif							/* EVSTORE_MODE_H */
