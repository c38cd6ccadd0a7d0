/*
 * manager.c
 *		The manager of a database: it tells shared memory which projections
 *		there are, and keeps the pool of workers.
 *
 * It wakes when definitions change, when a worker ends, and by its timer. It
 * ends when the extension is gone; its workers end with it.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/backoff.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/owner.h"
#include "base/settings.h"
#include "base/wakeup.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "project/generation.h"
#include "project/progress.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "work/child.h"
#include "work/loop.h"
#include "work/process.h"

static EvsChild workers[EVS_MAX_WORKERS];

PGDLLEXPORT void evs_manager_main(Datum arg);

/* Column of a row that SPI returned. */
static Datum
column(int row, int number, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

/* Say, once until there is room, that shared memory cannot take every projection. */
static void
warn_full(bool all_fit)
{
	static bool warned = false;

	if (!all_fit && !warned)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many projections: some of database %u are not kept", MyDatabaseId),
				 errdetail("This server has room for %d.", evs_max_projections),
				 errhint("Raise evstore.max_projections and restart the server.")));
	warned = !all_fit;
}

/*
 * End the process where the extension is not installed. Asked before anything
 * of shared memory is taken for the database, whose name is the answer.
 */
static void
require_extension(char *database_name)
{
	evs_loop_begin("looking for the extension");
	if (evs_catalog_lock() == NULL)
		evs_process_finish();
	strlcpy(database_name, get_database_name(MyDatabaseId), NAMEDATALEN);
	evs_loop_end();
}

/*
 * Read the projections and tell shared memory of them. Ends the process if the
 * extension is not there. Returns how many there are.
 */
static int
read_projections(void)
{
	EvsOwnerFrame frame;
	int			count;
	EvsProjectionRow *rows;
	bool		isnull;

	evs_loop_begin("reading the projections");
	PushActiveSnapshot(GetTransactionSnapshot());
	if (evs_catalog_lock() == NULL)
		evs_process_finish();

	evs_owner_begin_extension(&frame);
	if (SPI_execute("SELECT p.id, CASE WHEN p.event_tables IS NULL THEN p.event_table::oid ELSE 0 END, c.\"position\", c.failures, c.failed_at, c.failed_position,"
					" c.given_up, c.parked, p.priority, ceil(1000 * extract(epoch FROM p.timeout))::integer, coalesce(p.rebuilds, 0),"
					" coalesce(p.shard_of, p.id), p.shards, p.division"
					" FROM evstore._projection p JOIN evstore._checkpoint c ON c.projection = p.id"
					" WHERE NOT c.paused AND NOT c.stopped AND p.mode = 'async'",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the projections");
	count = SPI_processed;
	rows = palloc_array(EvsProjectionRow, count);
	for (int i = 0; i < count; i++)
	{
		EvsProjectionRow *row = &rows[i];
		int			failures = DatumGetInt32(column(i, 4, &isnull));

		row->projection = DatumGetInt32(column(i, 1, &isnull));
		row->event_table = DatumGetObjectId(column(i, 2, &isnull));
		row->reach.checkpoint = row->reach.position = DatumGetInt64(column(i, 3, &isnull));
		row->reach.failing = failures > 0 || DatumGetInt32(column(i, 7, &isnull)) > 0;
		row->reach.parked = DatumGetInt32(column(i, 8, &isnull));
		row->retry_at = failures > 0 ? evs_backoff_until(failures, DatumGetTimestampTz(column(i, 5, &isnull))) : 0;
		row->suspect = DatumGetInt64(column(i, 6, &isnull));
		if (isnull)
			row->suspect = 0;
		row->priority = DatumGetInt32(column(i, 9, &isnull));
		row->timeout = DatumGetInt32(column(i, 10, &isnull));
		if (isnull)
			row->timeout = 0;
		row->rebuilds = DatumGetInt32(column(i, 11, &isnull));
		row->whole = DatumGetInt32(column(i, 12, &isnull));
		row->shards = DatumGetInt32(column(i, 13, &isnull));
		row->division = DatumGetInt32(column(i, 14, &isnull));
	}
	warn_full(evs_progress_sync(MyDatabaseId, evs_catalog()->position_sequence, count, rows));
	evs_owner_end(&frame);
	evs_loop_end();
	return count;
}

/* Keep so many workers, and no more. */
static TimestampTz
tend_workers(int wanted)
{
	TimestampTz wake_at = 0;

	for (int i = 0; i < EVS_MAX_WORKERS; i++)
	{
		if (i >= wanted)
		{
			if (workers[i].handle && evs_child_tend(&workers[i], false) == EVS_CHILD_RUNNING)
				evs_process_stop_one(workers[i].id);
			continue;
		}
		/* A worker that found itself not needed was too early; the next turn starts another. */
		if (evs_child_tend(&workers[i], true) == EVS_CHILD_RUNNING)
			continue;
		if (wake_at == 0 || workers[i].retry_at < wake_at)
			wake_at = Max(workers[i].retry_at, 1);
	}
	return wake_at;
}

/* The manager ends: its workers do, too, and nobody applies. */
static void
stop_workers(int code, Datum arg)
{
	(void) evs_process_stop(EVS_PROCESS_WORKER, MyDatabaseId);
}

/* Main function of a manager. */
void
evs_manager_main(Datum arg)
{
	Oid			database;
	char		database_name[NAMEDATALEN];
	EvsDatabaseSlot slot;
	uint32		wait_event;
	uint32		seen = 0;
	int			projections = -1;
	MemoryContext context;

	(void) evs_loop_connect(&database);
	pgstat_report_appname("evstore manager");
	require_extension(database_name);
	evs_process_settle();
	slot = evs_database_slot();
	wait_event = EVS_WAIT_EVENT("EvstoreManager");
	context = AllocSetContextCreate(TopMemoryContext, "evstore manager", ALLOCSET_DEFAULT_SIZES);

	/* Workers of a manager before this one have nobody to tend them. */
	while (evs_process_stop(EVS_PROCESS_WORKER, database) > 0)
		(void) evs_process_wait_stopped(database, 1000);
	before_shmem_exit(stop_workers, (Datum) 0);
	for (int i = 0; i < EVS_MAX_WORKERS; i++)
	{
		workers[i].kind = EVS_PROCESS_WORKER;
		workers[i].database = database;
		workers[i].number = i;
		strlcpy(workers[i].database_name, database_name, NAMEDATALEN);
	}

	for (;;)
	{
		TimestampTz wake_at;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		evs_wakeup_listen(slot, EVS_BELL_MANAGER);
		if (projections < 0 || seen != evs_generation(slot))
		{
			seen = evs_generation(slot);
			projections = read_projections();
			MemoryContextSwitchTo(context);
			/* New projections are behind: there is work. */
			evs_wakeup_ring_worker(slot);
		}
		wake_at = tend_workers(Min(evs_workers, projections));
		evs_loop_sleep(wake_at, wait_event);
		evs_wakeup_unlisten();
	}
}
