/*
 * generation.c
 *		Which state the definitions of a database's projections are in.
 *
 * A counter for each database, raised when a transaction that declared or
 * dropped projections has committed. Whoever keeps something derived from the
 * definitions compares. An atomic, because it is raised in a transaction
 * callback.
 */
#include "evstore.h"

#include "base/settings.h"
#include "port/atomics.h"
#include "project/generation.h"
#include "storage/shmem.h"

static pg_atomic_uint32 *generations = NULL;

/* Size of this area. */
static Size
generation_size(void)
{
	return mul_size(evs_max_databases, sizeof(pg_atomic_uint32));
}

/* Remember where the area is; every database begins at 0. */
static void
generation_attach(void *area, bool fresh)
{
	generations = area;
	if (fresh)
		for (int i = 0; i < evs_max_databases; i++)
			pg_atomic_init_u32(&generations[i], 0);
}

const EvsShmemPart evs_generation_shmem = {"evstore generations", generation_size, generation_attach};

/* The definitions of a database changed. */
void
evs_generation_advance(EvsDatabaseSlot database)
{
	pg_atomic_fetch_add_u32(&generations[database], 1);
}

/* The generation of a database's definitions. */
uint32
evs_generation(EvsDatabaseSlot database)
{
	return pg_atomic_read_u32(&generations[database]);
}
