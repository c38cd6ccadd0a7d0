/*
 * wakeup.c
 *		Bells: how one process wakes another.
 *
 * A bell holds the process number (plus one) of whoever sleeps at it, 0 while
 * nobody does. The order that makes a lost ring impossible:
 *
 *	sleeper: listen (store, full barrier), look for work once more, sleep
 *	ringer:	 make the work visible, full barrier, ring (load)
 *
 * Either the ringer sees the sleeper's number, or the sleeper sees the work.
 * A ring takes the number away, so that of many commits in a burst only the
 * first pays for a SetLatch. Ringing touches neither locks nor memory
 * allocation and so is fit for transaction callbacks. A bell is a hint all the
 * same: every sleeper also has a timer.
 *
 * Bells hold process numbers, never latch pointers: a number of a process that
 * died wakes at worst a stranger, who looks and sleeps on.
 */
#include "evstore.h"

#include "base/settings.h"
#include "base/wakeup.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/proc.h"

#define BELLS_PER_DATABASE	(1 + EVS_MAX_WORKERS)

typedef pg_atomic_uint32 Bell;

/* The launcher's bell first, then BELLS_PER_DATABASE for each database slot. */
static Bell *shared_bells = NULL;

static Bell *my_bell = NULL;

/* Size of this area. */
static Size
wakeup_size(void)
{
	return mul_size(add_size(1, mul_size(evs_max_databases, BELLS_PER_DATABASE)), sizeof(Bell));
}

/* Remember where the area is; no bell has a sleeper at first. */
static void
wakeup_attach(void *area, bool fresh)
{
	shared_bells = area;
	if (fresh)
		for (int i = 0; i < 1 + evs_max_databases * BELLS_PER_DATABASE; i++)
			pg_atomic_init_u32(&shared_bells[i], 0);
}

const EvsShmemPart evs_wakeup_shmem = {"evstore bells", wakeup_size, wakeup_attach};

/* One bell of a database. */
static Bell *
bell_of(EvsDatabaseSlot database, int bell)
{
	return &shared_bells[1 + database * BELLS_PER_DATABASE + bell];
}

/* Wake whoever sleeps at a bell; true if there was somebody. */
static bool
ring(Bell *bell)
{
	uint32		sleeper = pg_atomic_read_u32(bell);

	while (sleeper != 0)
	{
		if (pg_atomic_compare_exchange_u32(bell, &sleeper, 0))
		{
			SetLatch(&ProcGlobal->allProcs[sleeper - 1].procLatch);
			return true;
		}
	}
	return false;
}

/*
 * Wake one sleeping worker of a database, if any sleeps: the caller has made
 * work for it. A worker that finds more work than it can do rings for the next.
 */
void
evs_wakeup_ring_worker(EvsDatabaseSlot database)
{
	pg_memory_barrier();
	for (int i = 0; i < evs_workers; i++)
		if (ring(bell_of(database, EVS_BELL_WORKER(i))))
			return;
}

/* Wake the manager of a database. */
void
evs_wakeup_ring_manager(EvsDatabaseSlot database)
{
	pg_memory_barrier();
	ring(bell_of(database, EVS_BELL_MANAGER));
}

/* Wake the launcher. */
void
evs_wakeup_ring_launcher(void)
{
	pg_memory_barrier();
	ring(&shared_bells[0]);
}

/* Leave our number at a bell. */
static void
listen_at(Bell *bell)
{
	my_bell = bell;
	pg_atomic_write_u32(bell, EVS_MY_PROC_NUMBER() + 1);
	pg_memory_barrier();
}

/* Announce that this process is about to sleep at a bell of its database. */
void
evs_wakeup_listen(EvsDatabaseSlot database, int bell)
{
	listen_at(bell_of(database, bell));
}

/* Announce that the launcher is about to sleep. */
void
evs_wakeup_listen_launcher(void)
{
	listen_at(&shared_bells[0]);
}

/* Awake again, for whatever reason: spare the ringers a useless SetLatch. */
void
evs_wakeup_unlisten(void)
{
	if (my_bell)
		pg_atomic_write_u32(my_bell, 0);
	my_bell = NULL;
}
