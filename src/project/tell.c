/*
 * tell.c
 *		What the world outside hears of a batch: pg_stat_activity while it is
 *		applied, and a notification when it is committed.
 *
 * The notification is sent in the batch's own transaction, so it comes when the
 * read table shows the batch, or not at all. Transactions that notify commit one
 * after the other; a worker's commit does not wait for the disk, so that is short,
 * and appends never notify.
 */
#include "evstore.h"

#include "base/settings.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "pgstat.h"
#include "project/tell.h"
#include "utils/json.h"

/* Say in pg_stat_activity which batch is being applied. */
void
evs_tell_activity(const char *projection, EvsPosition from, EvsPosition to)
{
	char	   *activity;

	if (!pgstat_track_activities)
		return;
	activity = psprintf("applying a batch of projection \"%s\" from %lld to %lld",
						projection, (long long) from + 1, (long long) to);
	pgstat_report_activity(STATE_RUNNING, activity);
	pfree(activity);
}

/* When this transaction commits, tell who listens how far a projection has come, or one of its shards (-1: all of it). */
void
evs_tell_listeners(const char *projection, EvsPosition position, int shard)
{
	StringInfoData payload;

	if (!evs_notify)
		return;
	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"projection\": ");
	escape_json(&payload, projection);
	appendStringInfo(&payload, ", \"position\": %lld", (long long) position);
	if (shard >= 0)
		appendStringInfo(&payload, ", \"shard\": %d", shard);
	appendStringInfoChar(&payload, '}');
	Async_Notify(EVS_EXTENSION, payload.data);
	pfree(payload.data);
}
