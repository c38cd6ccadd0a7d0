/*
 * counters.c
 *		What has happened in a database since the server's start, in numbers.
 *
 * In shared memory only, so that counting costs no write and a crash begins
 * anew, as whoever collects such numbers expects. Atomics without a lock: they
 * are raised in transaction callbacks, too. A database's counters begin at 0 when
 * it takes its slot.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/counters.h"
#include "base/database.h"
#include "base/settings.h"
#include "fmgr.h"
#include "funcapi.h"
#include "port/atomics.h"

/* One a database slot; on a cache line of its own. */
typedef union DatabaseCounters
{
	pg_atomic_uint64 value[EVS_COUNTERS];
	char		pad[PG_CACHE_LINE_SIZE];
} DatabaseCounters;

static DatabaseCounters *shared_counters = NULL;

/* Size of this area. */
static Size
counters_size(void)
{
	return mul_size(evs_max_databases, sizeof(DatabaseCounters));
}

/* Remember where the area is; everything begins at 0. */
static void
counters_attach(void *area, bool fresh)
{
	shared_counters = area;
	for (int i = 0; fresh && i < evs_max_databases; i++)
		for (int j = 0; j < EVS_COUNTERS; j++)
			pg_atomic_init_u64(&shared_counters[i].value[j], 0);
}

const EvsShmemPart evs_counters_shmem = {"evstore counters", counters_size, counters_attach};

/* The slot has a new database. */
void
evs_counters_reset(EvsDatabaseSlot database)
{
	for (int i = 0; i < EVS_COUNTERS; i++)
		pg_atomic_write_u64(&shared_counters[database].value[i], 0);
}

/* It happened so many times more. */
void
evs_count(EvsDatabaseSlot database, EvsCounter counter, uint64 more)
{
	pg_atomic_fetch_add_u64(&shared_counters[database].value[counter], more);
}

PG_FUNCTION_INFO_V1(evs_counters);

/* evstore._counters() */
Datum
evs_counters(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[EVS_COUNTERS];
	bool		nulls[EVS_COUNTERS] = {false};

	evs_shmem_require();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < EVS_COUNTERS; i++)
		values[i] = Int64GetDatum(pg_atomic_read_u64(&shared_counters[evs_database_slot()].value[i]));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
