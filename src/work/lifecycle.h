/*
 * lifecycle.h
 *		What becomes of evstore's processes when databases and the extension
 *		come and go.
 */
#ifndef EVSTORE_LIFECYCLE_H
#define EVSTORE_LIFECYCLE_H

#include "base/shmem.h"
#include "base/xact.h"
#include "catalog/objectaccess.h"
#include "nodes/nodes.h"

extern const EvsShmemPart evs_lifecycle_shmem;
extern const EvsXactSubscriber evs_lifecycle_xact;

extern void evs_lifecycle_note_object(ObjectAccessType access, Oid class, Oid object);
extern void evs_lifecycle_before_utility(Node *statement);

extern bool evs_lifecycle_is_held(Oid database);
extern bool evs_lifecycle_take_wish(Oid *database);
extern uint32 evs_lifecycle_changes(void);

#endif							/* EVSTORE_LIFECYCLE_H */
