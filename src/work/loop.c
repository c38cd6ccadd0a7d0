/*
 * loop.c
 *		What the main loops of all evstore processes have in common.
 *
 * The frame of a transaction is in the order of PostgreSQL's worker_spi. Every
 * sleep ends in CHECK_FOR_INTERRUPTS: a process that forgot it would hang
 * DROP DATABASE, of any database.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/owner.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "work/loop.h"
#include "work/process.h"

/* The timer behind every bell: nobody sleeps longer, rung or not. */
#define LONGEST_SLEEP_MS 60000

/* What administrators may have set for sessions, and must not hold for ours. */
static const char *const session_settings[][2] = {
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	/* Who finds a deadlock is ended by it. We do before a session does: what we did is done again. */
	{"deadlock_timeout", "100ms"},
	/* Events, read table and checkpoint are in one WAL, in that order: a crash undoes both or neither. */
	{"synchronous_commit", "off"},
	{"search_path", EVS_SAFE_SEARCH_PATH},
};

/* Let SIGTERM end the process wherever it is, and SIGHUP reload settings. */
void
evs_loop_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* A child takes up its slot and connects to its database. Returns its number. */
int
evs_loop_connect(Oid *database)
{
	EvsProcessId id;
	int			number;

	memcpy(&id, MyBgworkerEntry->bgw_extra, sizeof(id));
	if (!evs_process_attach(id, database, &number))
		proc_exit(0);
	evs_loop_signals();
	BackgroundWorkerInitializeConnectionByOid(*database, InvalidOid, 0);
	for (int i = 0; i < lengthof(session_settings); i++)
		SetConfigOption(session_settings[i][0], session_settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	return number;
}

/* Begin a transaction, with SPI but without any snapshot yet. */
void
evs_loop_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	pgstat_report_activity(STATE_RUNNING, activity);
}

/* Commit it. */
void
evs_loop_end(void)
{
	SPI_finish();
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * Sleep until the latch is set or a time has come (0: none in particular).
 * Statistics are sent now and then, and by who sleeps long; settings are
 * reloaded and interrupts served after.
 */
void
evs_loop_sleep(TimestampTz until, uint32 wait_event)
{
	long		timeout = LONGEST_SLEEP_MS;
	long		unsent = pgstat_report_stat(false);

	if (unsent > 0)
		timeout = Min(timeout, unsent);
	if (until != 0)
		timeout = Min(timeout, Max(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until), 1));

	if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, wait_event) & WL_TIMEOUT)
		(void) pgstat_report_stat(true);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}
