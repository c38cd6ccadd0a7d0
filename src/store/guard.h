/*
 * guard.h
 *		The guard that keeps tables append-only.
 */
#ifndef EVSTORE_GUARD_H
#define EVSTORE_GUARD_H

#include "base/xact.h"
#include "catalog/objectaccess.h"
#include "nodes/pg_list.h"

extern const EvsXactSubscriber evs_guard_xact;

extern void evs_guard_check_dml(List *permissions);
extern void evs_guard_check_utility(Node *statement);
extern void evs_guard_check_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg);
extern void evs_guard_check_drop(Oid relid);
extern void evs_guard_write_log(void);

#endif							/* EVSTORE_GUARD_H */
