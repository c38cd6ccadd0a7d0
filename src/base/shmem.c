/*
 * shmem.c
 *		evstore's shared memory: one area a module, one lock for all.
 *
 * Requested in shmem_request_hook and attached in shmem_startup_hook, which
 * runs again after every crash while _PG_init does not. Without
 * shared_preload_libraries there is no shared memory: the library still loads
 * (pg_upgrade and triggers need that), and evs_shmem_require() refuses what
 * cannot work.
 */
#include "evstore.h"

#include "base/shmem.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define EVS_TRANCHE "evstore"

static const EvsShmemPart *const *shmem_parts = NULL;
static int	shmem_part_count = 0;
static LWLock *shmem_lock = NULL;	/* set once the areas are attached */

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* Ask for every module's area; MaxBackends is valid from here on. */
static void
request_areas(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	for (int i = 0; i < shmem_part_count; i++)
		RequestAddinShmemSpace(shmem_parts[i]->size());
	RequestNamedLWLockTranche(EVS_TRANCHE, 1);
}

/* Attach every module's area, initialising what is fresh. */
static void
attach_areas(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < shmem_part_count; i++)
	{
		bool		found;
		Size		size = shmem_parts[i]->size();
		void	   *area = ShmemInitStruct(shmem_parts[i]->name, size, &found);

		if (!found)
			memset(area, 0, size);
		shmem_parts[i]->attach(area, !found);
	}
	shmem_lock = &GetNamedLWLockTranche(EVS_TRANCHE)->lock;
	LWLockRelease(AddinShmemInitLock);
}

/* Have the areas requested and attached; called once, from _PG_init. */
void
evs_shmem_install(const EvsShmemPart *const *parts, int count)
{
	shmem_parts = parts;
	shmem_part_count = count;

	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_areas;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_areas;
}

/* Is there shared memory, that is, was the library preloaded? */
bool
evs_shmem_ready(void)
{
	return shmem_lock != NULL;
}

/* Refuse to go on without shared memory. */
void
evs_shmem_require(void)
{
	if (!evs_shmem_ready())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("evstore must be loaded at server start"),
				 errhint("Add \"evstore\" to shared_preload_libraries and restart the server.")));
}

/*
 * The lock of every shared field that names no other. It is held for a few
 * array look-ups at most, never across I/O and never on the path of an append.
 */
LWLock *
evs_lock(void)
{
	return shmem_lock;
}
