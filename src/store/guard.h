/*
 * guard.h
 *		The guard that keeps tables append-only.
 */
#ifndef EVSTORE_GUARD_H
#define EVSTORE_GUARD_H

#include "access/attnum.h"
#include "base/xact.h"
#include "catalog/objectaccess.h"
#include "nodes/pg_list.h"

extern const EvsXactSubscriber evs_guard_xact;

extern void evs_guard_check_dml(List *permissions);
extern void evs_guard_check_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg);
extern void evs_guard_check_drop(Oid relid);
extern void evs_guard_extension_drop(Oid extension, bool going);
extern bool evs_guard_has_column(Oid relid, AttrNumber column);

#endif							/* EVSTORE_GUARD_H */
