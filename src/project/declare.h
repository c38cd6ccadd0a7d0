/*
 * declare.h
 *		Declaring and dropping projections: the SQL functions.
 */
#ifndef EVSTORE_DECLARE_H
#define EVSTORE_DECLARE_H

#include "fmgr.h"
#include "project/projection.h"

extern void evs_declare_lock_name(const char *name);
extern void evs_declare_definition_context(void *arg);
extern void evs_declare_read_tables(EvsProjection *projection, ArrayType *names);

#endif							/* EVSTORE_DECLARE_H */
