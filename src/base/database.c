/*
 * database.c
 *		Which databases of this server use evstore.
 *
 * Every shared array with one element a database is indexed by the slot given
 * here. A slot is taken by the first process of a database that needs one and
 * given back by the launcher when the database is gone; as no process can be
 * connected to a database that is gone, a slot never changes under its users.
 *
 * The array is guarded by evs_lock(). Reading one's own slot needs no lock.
 */
#include "evstore.h"

#include "base/counters.h"
#include "base/database.h"
#include "base/settings.h"
#include "miscadmin.h"

/* Oid of the database in each slot, InvalidOid where the slot is free. */
static Oid *shared_databases = NULL;

static EvsDatabaseSlot my_slot = EVS_NO_DATABASE;

/* Size of this area. */
static Size
database_size(void)
{
	return mul_size(evs_max_databases, sizeof(Oid));
}

/* Remember where the area is. */
static void
database_attach(void *area, bool fresh)
{
	shared_databases = area;
}

const EvsShmemPart evs_database_shmem = {"evstore databases", database_size, database_attach};

/* Slot of a database, or EVS_NO_DATABASE; the caller holds evs_lock(). */
static EvsDatabaseSlot
find_locked(Oid database)
{
	for (int i = 0; i < evs_max_databases; i++)
		if (shared_databases[i] == database)
			return i;
	return EVS_NO_DATABASE;
}

/* The slot of the database this process is connected to, taken if need be. */
EvsDatabaseSlot
evs_database_slot(void)
{
	EvsDatabaseSlot slot = my_slot;

	if (slot != EVS_NO_DATABASE)
		return slot;

	evs_shmem_require();
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = find_locked(MyDatabaseId);
	if (slot == EVS_NO_DATABASE)
	{
		slot = find_locked(InvalidOid);
		if (slot != EVS_NO_DATABASE)
		{
			shared_databases[slot] = MyDatabaseId;
			evs_counters_reset(slot);
		}
	}
	LWLockRelease(evs_lock());

	if (slot == EVS_NO_DATABASE)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use evstore"),
				 errdetail("This server has room for %d.", evs_max_databases),
				 errhint("Raise evstore.max_databases and restart the server.")));
	my_slot = slot;
	return slot;
}

/* The slot of any database, or EVS_NO_DATABASE if it has none. */
EvsDatabaseSlot
evs_database_find(Oid database)
{
	EvsDatabaseSlot slot;

	LWLockAcquire(evs_lock(), LW_SHARED);
	slot = find_locked(database);
	LWLockRelease(evs_lock());
	return slot;
}

/* Oids of the databases that have a slot. */
List *
evs_database_list(void)
{
	Oid		   *oids = palloc_array(Oid, evs_max_databases);
	List	   *list = NIL;

	LWLockAcquire(evs_lock(), LW_SHARED);
	memcpy(oids, shared_databases, evs_max_databases * sizeof(Oid));
	LWLockRelease(evs_lock());
	for (int i = 0; i < evs_max_databases; i++)
		if (OidIsValid(oids[i]))
			list = lappend_oid(list, oids[i]);
	pfree(oids);
	return list;
}

/* Give back the slot of a database that is gone. */
void
evs_database_forget(Oid database)
{
	EvsDatabaseSlot slot;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = find_locked(database);
	if (slot != EVS_NO_DATABASE)
		shared_databases[slot] = InvalidOid;
	LWLockRelease(evs_lock());
}
