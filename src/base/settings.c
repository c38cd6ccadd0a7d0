/*
 * settings.c
 *		The settings that users turn, all under "evstore.".
 */
#include "evstore.h"

#include <limits.h>

#include "base/settings.h"
#include "miscadmin.h"
#include "utils/guc.h"

/* The event table that functions use when none is named, found by search_path. */
char	   *evs_event_table = NULL;

/* What the events of this session belong to, and what causes them; empty: nothing. */
char	   *evs_correlation_id = NULL;
char	   *evs_causation_id = NULL;

/* Do the functions that read events show them as they were written? */
bool		evs_raw = false;

/* Opens the guard of append-only tables, for superusers, on the record. */
bool		evs_maintenance = false;

/* Do SELECTs on a read table wait for what this session has appended? */
bool		evs_read_your_writes = false;

/* For so long at most. */
int			evs_read_your_writes_timeout = 10000;

/* Does each batch that changed something notify the channel "evstore"? */
bool		evs_notify = false;

/* How many workers apply projections in one database. */
int			evs_workers = 2;

/* How long idle workers wait from one look at a projection's truth to the next, in milliseconds; 0: they do not look. */
int			evs_audit_interval = 0;

/* Which share of a projection's keys they look at. */
double		evs_audit_sample = 0.01;

/* How many databases of this server may hold event tables; sizes shared memory. */
int			evs_max_databases = 16;

/* How many projections all databases may have together; sizes shared memory. */
int			evs_max_projections = 1024;

/* Define every setting; called once, from _PG_init. */
void
evs_settings_define(void)
{
	DefineCustomStringVariable("evstore.event_table",
							   "Event table used by functions that are given none.",
							   "Resolved through search_path like any table name.",
							   &evs_event_table,
							   "events",
							   PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("evstore.correlation_id",
							   "What the events appended by this session belong to.",
							   "Stands in their metadata under correlation_id, unless they bring one.",
							   &evs_correlation_id,
							   "",
							   PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("evstore.causation_id",
							   "What causes the events appended by this session.",
							   "Stands in their metadata under causation_id, unless they bring one.",
							   &evs_causation_id,
							   "",
							   PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable("evstore.raw",
							 "Lets the functions that read events show them as they were written.",
							 "Otherwise they show old events in the newest shape of their type.",
							 &evs_raw,
							 false,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable("evstore.maintenance",
							 "Lets a superuser change guarded tables.",
							 "Every change is recorded in evstore.maintenance_log.",
							 &evs_maintenance,
							 false,
							 PGC_SUSET, GUC_DISALLOW_IN_FILE, NULL, NULL, NULL);

	DefineCustomBoolVariable("evstore.read_your_writes",
							 "Lets a SELECT on a read table wait for the events that the session has appended.",
							 "It waits until the projection has applied the session's last committed append.",
							 &evs_read_your_writes,
							 false,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("evstore.read_your_writes_timeout",
							"How long such a SELECT waits before it fails.",
							NULL,
							&evs_read_your_writes_timeout,
							10000, 1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomBoolVariable("evstore.notify",
							 "Lets every batch that changed something notify the channel \"evstore\".",
							 "Whoever listens hears which projection has come how far.",
							 &evs_notify,
							 false,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("evstore.workers",
							"Number of background workers that keep the projections of one database.",
							"They count towards max_worker_processes, as do the launcher and one manager a database.",
							&evs_workers,
							2, 0, EVS_MAX_WORKERS,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("evstore.audit_interval",
							"Time from one verification of a query projection by an idle worker to the next.",
							"0 turns verification in the background off.",
							&evs_audit_interval,
							0, 0, PG_INT32_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomRealVariable("evstore.audit_sample",
							 "Share of the keys that a verification in the background compares.",
							 NULL,
							 &evs_audit_sample,
							 0.01, 0.000001, 1,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* The sizes of shared memory can only be set while it is being laid out. */
	if (process_shared_preload_libraries_in_progress)
	{
		DefineCustomIntVariable("evstore.max_databases",
								"Number of databases that may hold event tables.",
								NULL,
								&evs_max_databases,
								16, 1, 10000,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);

		DefineCustomIntVariable("evstore.max_projections",
								"Number of projections that all databases may have together.",
								NULL,
								&evs_max_projections,
								1024, 1, 100000,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
	}

	MarkGUCPrefixReserved("evstore");
}
