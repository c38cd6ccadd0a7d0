/*
 * launcher.c
 *		The launcher: one for the server. It keeps a manager in every database
 *		that has the extension.
 *
 * Static, restarted by the postmaster, connected to no database: it reads
 * pg_database and nothing else. Whether a database has the extension only a
 * process inside it can tell. So each database that is new to the launcher is
 * probed, one at a time: a manager is started, and either settles down or says
 * that it is not needed. The answer stands until CREATE EXTENSION leaves a wish
 * for that database.
 *
 * Templates are not probed: nobody appends there, and a manager would be in
 * the way of CREATE DATABASE.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/database.h"
#include "base/wakeup.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "project/progress.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "work/child.h"
#include "work/launcher.h"
#include "work/lifecycle.h"
#include "work/loop.h"

/* How often pg_database is read without being told to. */
#define LOOK_INTERVAL_MS 60000

/* A database, as the launcher knows it. */
typedef struct KnownDatabase
{
	Oid			oid;
	bool		open;			/* it can be connected to, and is no template */
	bool		absent;			/* a probe has found no extension */
	bool		wished;			/* it was created since the manager was started */
	EvsChild	manager;
} KnownDatabase;

static List *known = NIL;		/* of KnownDatabase */

PGDLLEXPORT void evs_launcher_main(Datum arg);

/* Have the postmaster start the launcher; called once, from _PG_init. */
void
evs_launcher_register(void)
{
	BackgroundWorker worker = {0};

	if (IsBinaryUpgrade)
		return;
	snprintf(worker.bgw_name, BGW_MAXLEN, "evstore launcher");
	snprintf(worker.bgw_type, BGW_MAXLEN, "evstore launcher");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "%s", EVS_EXTENSION);
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "evs_launcher_main");
	RegisterBackgroundWorker(&worker);
}

/* What the launcher knows of a database, NULL if nothing. */
static KnownDatabase *
find_known(Oid oid)
{
	ListCell   *cell;

	foreach(cell, known)
		if (((KnownDatabase *) lfirst(cell))->oid == oid)
			return lfirst(cell);
	return NULL;
}

/* Know a database by its oid and, as it may have been renamed, by its present name. */
static void
learn(const FormData_pg_database *form)
{
	KnownDatabase *database = find_known(form->oid);

	if (database == NULL)
	{
		database = palloc0_object(KnownDatabase);
		database->oid = form->oid;
		database->manager.kind = EVS_PROCESS_MANAGER;
		database->manager.database = form->oid;
		known = lappend(known, database);
	}
	database->open = form->datallowconn && !form->datistemplate;
	strlcpy(database->manager.database_name, NameStr(form->datname), NAMEDATALEN);
}

/* Learn of every database there is, and return their oids. */
static List *
read_databases(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *oids = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "reading the databases");
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext inner = MemoryContextSwitchTo(caller);

		oids = lappend_oid(oids, form->oid);
		learn(form);
		MemoryContextSwitchTo(inner);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(caller);
	return oids;
}

/*
 * Learn of new databases, and forget those that are gone. Only a database that
 * is not there any more is gone: one that cannot be connected to may still have
 * sessions. A slot taken after we listed the slots is not looked at, as its
 * database may be younger than what we read.
 */
static void
refresh_known(void)
{
	List	   *with_slot = evs_database_list();
	List	   *oids = read_databases();
	ListCell   *cell;

	foreach(cell, with_slot)
	{
		if (list_member_oid(oids, lfirst_oid(cell)))
			continue;
		(void) evs_progress_sync(lfirst_oid(cell), InvalidOid, 0, NULL);
		evs_database_forget(lfirst_oid(cell));
	}
	foreach(cell, known)
	{
		KnownDatabase *database = lfirst(cell);

		if (list_member_oid(oids, database->oid) || !evs_child_has_stopped(&database->manager))
			continue;
		if (database->manager.handle)
		{
			pfree(database->manager.handle);
			(void) evs_process_collect(database->manager.id);
		}
		known = foreach_delete_current(known, cell);
		pfree(database);
	}
	list_free(with_slot);
	list_free(oids);
}

/* The extension was created in some databases: what was said of them stands no more. */
static void
grant_wishes(void)
{
	Oid			oid;

	while (evs_lifecycle_take_wish(&oid))
	{
		KnownDatabase *database = find_known(oid);

		if (database)
		{
			database->absent = false;
			database->wished = true;
		}
	}
}

/* Keep a manager in every database that has, or may have, the extension. */
static TimestampTz
tend_managers(void)
{
	TimestampTz wake_at = 0;
	bool		probing = false;
	ListCell   *cell;

	foreach(cell, known)
	{
		KnownDatabase *database = lfirst(cell);
		EvsChild   *manager = &database->manager;
		bool		may_start = database->open && !database->absent && !probing &&
			!evs_lifecycle_is_held(database->oid);

		if (manager->handle == NULL && !may_start)
			continue;
		if (manager->handle == NULL)
			database->wished = false;
		switch (evs_child_tend(manager, may_start))
		{
			case EVS_CHILD_RUNNING:
				probing = probing || !evs_process_is_settled(manager->id);
				break;
			case EVS_CHILD_DONE:
				/* What it looked for may have come after it had looked. */
				database->absent = !database->wished;
				/* Its end has made room for the next probe. */
				SetLatch(MyLatch);
				break;
			case EVS_CHILD_WAITING:
				if (manager->retry_at != 0 && (wake_at == 0 || manager->retry_at < wake_at))
					wake_at = manager->retry_at;
				break;
		}
	}
	return wake_at;
}

/* The launcher ends: its managers do, too. */
static void
stop_managers(int code, Datum arg)
{
	(void) evs_process_stop(EVS_PROCESS_MANAGER, InvalidOid);
}

/* Main function of the launcher. */
void
evs_launcher_main(Datum arg)
{
	uint32		wait_event;
	uint32		seen = 0;
	TimestampTz looked_at = 0;

	evs_loop_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("evstore launcher");
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "evstore launcher",
												ALLOCSET_DEFAULT_SIZES));
	wait_event = EVS_WAIT_EVENT("EvstoreLauncher");

	/* Managers of a launcher before this one have nobody to tend them. */
	while (evs_process_stop(EVS_PROCESS_MANAGER, InvalidOid) > 0)
		(void) evs_process_wait_stopped(InvalidOid, 1000);
	before_shmem_exit(stop_managers, (Datum) 0);

	for (;;)
	{
		TimestampTz wake_at;

		evs_wakeup_listen_launcher();
		if (seen != evs_lifecycle_changes() ||
			TimestampDifferenceExceeds(looked_at, GetCurrentTimestamp(), LOOK_INTERVAL_MS))
		{
			seen = evs_lifecycle_changes();
			looked_at = GetCurrentTimestamp();
			refresh_known();
			grant_wishes();
		}
		wake_at = tend_managers();
		evs_loop_sleep(wake_at, wait_event);
		evs_wakeup_unlisten();
	}
}
