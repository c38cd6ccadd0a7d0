/*
 * replay.c
 *		Applying the events of a parked stream: evstore.replay_parked().
 *
 * They are applied in the order of their positions, each as a batch of its own,
 * in the transaction that takes away what says that they were passed (park.c).
 */
#include "evstore.h"

#include "base/owner.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/batch.h"
#include "project/mode.h"
#include "project/shard.h"
#include "project/view.h"

/* The event that is being applied. */
typedef struct ParkedEvent
{
	EvsPosition position;		/* 0 before the first */
	EvsVersion	version;
} ParkedEvent;

/* What an error during a replay is about. */
static void
replay_context(void *arg)
{
	const ParkedEvent *event = arg;

	if (event->position != 0)
		errcontext("parked event at position %lld, version %lld of its stream",
				   (long long) event->position, (long long) event->version);
}

/* Apply the parked events that SPI has returned, each as a batch of its own. */
static void
replay(EvsApplied *applied, SPITupleTable *rows, uint64 count)
{
	ParkedEvent event = {0};
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = replay_context,
		.arg = &event,
	};

	error_context_stack = &context;
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		event.position = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
		event.version = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));
		evs_batch_check_alone(applied->definition, event.position);
		(void) evs_apply_events(applied, (EvsBounds) {event.position - 1, event.position});
	}
	error_context_stack = context.previous;
}

/* What is to be replayed: a stream, of one event table or, with InvalidOid, of all. */
typedef struct Replayed
{
	Datum		stream;
	Oid			event_table;
} Replayed;

/* Run a statement on the extension's tables about what is to be replayed; its arguments are a projection, the stream and the table. */
static void
run_on_replayed(const char *sql, int projection, const Replayed *replayed, int expected)
{
	Oid			types[] = {INT4OID, TEXTOID, OIDOID};
	Datum		values[] = {Int32GetDatum(projection), replayed->stream, ObjectIdGetDatum(replayed->event_table)};

	evs_owner_run_extension(sql, lengthof(types), types, values, NULL, expected);
}

#define OF_REPLAYED "stream = $2 AND $3 IN (0, event_table::oid)"

/* The shard of a projection that holds a stream back, whatever the table; 0 if none does. Call inside SPI. */
static int
holder(int whole, const Replayed *replayed)
{
	bool		isnull;

	run_on_replayed("SELECT projection FROM evstore._parked WHERE projection IN " EVS_SHARDS_OF " AND " OF_REPLAYED,
					whole, replayed, SPI_OK_SELECT);
	return SPI_processed == 0 ? 0 : DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Apply the parked events of a stream, and park it no longer. The checkpoint
 * stays locked to the end of the transaction: no batch comes in between, and
 * the next one finds by its row that fewer streams are parked.
 */
static uint64
replay_stream(int projection, const Replayed *replayed)
{
	EvsApplied *applied;
	SPITupleTable *rows;
	uint64		count;

	/* A rebuild that is put in place locks the mode, the read tables, then the checkpoint. */
	(void) evs_mode_lock(projection, true);
	/* A batch locks the read table first, then its view, then its checkpoint. */
	applied = evs_apply_find(projection);
	if (applied == NULL)
		return 0;
	evs_view_lock(applied->definition, AccessShareLock);
	run_on_replayed("SELECT FROM evstore._checkpoint WHERE projection = $1 FOR UPDATE", projection, replayed, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return 0;
	evs_apply_check(applied->definition);
	evs_shard_check_hashes(applied->definition);
	run_on_replayed("SELECT \"position\", version FROM evstore._skipped"
					" WHERE projection = $1 AND parked AND " OF_REPLAYED " ORDER BY \"position\"",
					projection, replayed, SPI_OK_SELECT);
	rows = SPI_tuptable;
	count = SPI_processed;
	if (count == 0)
		return 0;
	replay(applied, rows, count);

	run_on_replayed("WITH s AS (DELETE FROM evstore._skipped"
					"  WHERE projection = $1 AND parked AND " OF_REPLAYED " RETURNING 1),"
					" p AS (DELETE FROM evstore._parked WHERE projection = $1 AND " OF_REPLAYED " RETURNING 1)"
					" UPDATE evstore._checkpoint SET skipped = skipped - (SELECT count(*) FROM s),"
					"  parked = parked - (SELECT count(*) FROM p) WHERE projection = $1",
					projection, replayed, SPI_OK_UPDATE);
	evs_projection_note_change();
	return count;
}

PG_FUNCTION_INFO_V1(evs_replay_parked);

/* evstore.replay_parked(projection, stream, event_table) */
Datum
evs_replay_parked(PG_FUNCTION_ARGS)
{
	Replayed	replayed;
	uint64		count = 0;
	int			id;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	replayed.stream = PG_GETARG_DATUM(1);
	replayed.event_table = PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2);
	SPI_connect();
	id = holder(evs_projection_own(fcinfo, "evstore.replay_parked()"), &replayed);
	if (id != 0)
		count = replay_stream(id, &replayed);
	SPI_finish();
	PG_RETURN_INT64(count);
}
