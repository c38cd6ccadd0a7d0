/*
 * source.h
 *		What projections read events from.
 */
#ifndef EVSTORE_SOURCE_H
#define EVSTORE_SOURCE_H

#include "nodes/nodes.h"

extern void evs_source_lock(Oid event_table, bool to_change);
extern bool evs_source_lock_named(Node *node, void *context);
extern Oid	evs_source_find(Oid event_table);
extern bool evs_source_will_change(Oid event_table, Oid added, const text *type, int dropped);
extern Oid	evs_source_create(Oid event_table, int id);
extern void evs_source_drop(Oid event_table, Oid source);
extern void evs_source_redirect(Oid from, Oid to);

#endif							/* EVSTORE_SOURCE_H */
