/*
 * database.h
 *		Which databases of this server use evstore.
 */
#ifndef EVSTORE_DATABASE_H
#define EVSTORE_DATABASE_H

#include "base/shmem.h"
#include "nodes/pg_list.h"

#define EVS_NO_DATABASE (-1)

extern const EvsShmemPart evs_database_shmem;

extern EvsDatabaseSlot evs_database_slot(void);
extern EvsDatabaseSlot evs_database_find(Oid database);
extern List *evs_database_list(void);
extern void evs_database_forget(Oid database);

#endif							/* EVSTORE_DATABASE_H */
