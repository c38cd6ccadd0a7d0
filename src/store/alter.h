/*
 * alter.h
 *		What statements may do to guarded tables.
 */
#ifndef EVSTORE_ALTER_H
#define EVSTORE_ALTER_H

#include "base/xact.h"
#include "nodes/nodes.h"

extern const EvsXactSubscriber evs_alter_xact;

extern void evs_alter_check_utility(Node *statement);
extern void evs_alter_touch(Oid class, Oid object, bool altered);
extern void evs_alter_check_touched(void);

#endif							/* EVSTORE_ALTER_H */
