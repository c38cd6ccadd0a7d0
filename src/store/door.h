/*
 * door.h
 *		The one door in the guard, and its record.
 */
#ifndef EVSTORE_DOOR_H
#define EVSTORE_DOOR_H

#include "base/xact.h"

extern const EvsXactSubscriber evs_door_xact;

extern bool evs_door_is_open(void);
extern const char *evs_door_target_name(Oid relid);
extern void evs_door_refuse(const char *command, Oid relid);
extern void evs_door_refuse_inline(const char *command, Oid relid);
extern void evs_door_write_log(void);

#endif							/* EVSTORE_DOOR_H */
