/*
 * shadow.h
 *		Tables that stand in for the read tables of a projection.
 */
#ifndef EVSTORE_SHADOW_H
#define EVSTORE_SHADOW_H

#include "project/projection.h"
#include "storage/lockdefs.h"

extern void evs_shadow_require_tables(const EvsProjection *projection);
extern Oid	evs_shadow_find(const char *schema);
extern Oid	evs_shadow_create_schema(const char *schema, Oid owner);
extern void evs_shadow_close_schema(const char *schema, Oid owner);
extern Oid	evs_shadow_create(const EvsProjection *projection, const char *schema);
extern char *evs_shadow_table(const char *schema, Oid relid);
extern void evs_shadow_lock(const EvsProjection *rebuild, LOCKMODE mode);
extern void evs_shadow_drop(const char *schema);

#endif							/* EVSTORE_SHADOW_H */
