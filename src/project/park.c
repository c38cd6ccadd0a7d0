/*
 * park.c
 *		Events that a projection passes without applying them.
 *
 * Such an event gets a row of evstore._skipped, in the transaction that moves
 * the checkpoint past it: it is recorded once, and applied never. It is skipped
 * for good, or parked. Then its stream gets a row of evstore._parked, and each
 * later event of that stream is parked, too, when its turn comes, so that none
 * is applied before one that it follows. evstore.replay_parked() applies them,
 * and takes both away.
 *
 * The checkpoint's row says how many streams are parked; a batch that finds
 * another number, or other rows than these, does not go on. So while nothing is
 * parked a batch looks at none of this.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "base/owner.h"
#include "base/shmem.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/checkpoint.h"
#include "project/park.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/* An open event table that single events are looked for in, by one of its indexes. */
typedef struct Search
{
	Relation	rel;
	Relation	index;
	TupleTableSlot *slot;
	Snapshot	snapshot;
} Search;

/* Open a table to look for events by position, or by stream and version. */
static void
search_begin(Search *search, Oid event_table, bool by_stream)
{
	EvsTable   *table = evs_table_open(event_table, AccessShareLock, &search->rel);

	search->index = index_open(by_stream ? table->version_index : table->position_index, AccessShareLock);
	search->slot = table_slot_create(search->rel, NULL);
	search->snapshot = RegisterSnapshot(GetLatestSnapshot());
}

/* Close it. */
static void
search_end(Search *search)
{
	UnregisterSnapshot(search->snapshot);
	ExecDropSingleTupleTableSlot(search->slot);
	index_close(search->index, AccessShareLock);
	evs_table_close(search->rel);
}

/* The first event that the keys find; its texts are copied. False if there is none. */
static bool
search_first(Search *search, ScanKey keys, int count, EvsParkedEvent *event)
{
	IndexScanDesc scan = EVS_INDEX_BEGINSCAN(search->rel, search->index, search->snapshot, count);
	bool		found;

	index_rescan(scan, keys, count, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, search->slot);
	if (found)
	{
		bool		no_stream;
		bool		isnull;
		Datum		stream = slot_getattr(search->slot, EVS_COLUMN_STREAM, &no_stream);

		event->position = DatumGetInt64(slot_getattr(search->slot, EVS_COLUMN_POSITION, &isnull));
		event->version = no_stream ? 0 : DatumGetInt64(slot_getattr(search->slot, EVS_COLUMN_VERSION, &isnull));
		event->stream = no_stream ? 0 : datumCopy(stream, false, -1);
		event->type = datumCopy(slot_getattr(search->slot, EVS_COLUMN_TYPE, &isnull), false, -1);
	}
	index_endscan(scan);
	return found;
}

/* The event at a position. */
static bool
event_at(Oid event_table, EvsPosition position, EvsParkedEvent *event)
{
	Search		search;
	ScanKeyData key;
	bool		found;

	search_begin(&search, event_table, false);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(position));
	found = search_first(&search, &key, 1, event);
	search_end(&search);
	return found;
}

/*
 * The first event up to a position that is to be held back, as one of the
 * parked streams has it; false if there is none. Call inside SPI, with the
 * checkpoint locked, whose row says how many streams there are.
 */
bool
evs_park_find(const EvsProjection *projection, int streams, EvsPosition to, EvsParkedEvent *event)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(projection->id)};
	SPITupleTable *rows;
	Search		search;

	evs_owner_run_extension("SELECT stream, version FROM evstore._parked WHERE projection = $1",
							lengthof(types), types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed != streams)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the parked streams of projection \"%s\" are not complete", projection->name),
				 errdetail("There are %llu of %d.", (unsigned long long) SPI_processed, streams),
				 errhint("While a dump is being restored, they come later.")));
	rows = SPI_tuptable;

	event->position = 0;
	search_begin(&search, projection->event_table, true);
	for (int i = 0; i < streams; i++)
	{
		bool		isnull;
		ScanKeyData keys[2];
		EvsParkedEvent next;

		/* All up to its last parked version have been passed. */
		ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID, F_TEXTEQ,
							   SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
		ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT8GT,
					SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));
		if (search_first(&search, keys, 2, &next) && next.position <= to &&
			(event->position == 0 || next.position < event->position))
			*event = next;
	}
	search_end(&search);
	return event->position != 0;
}

/* Record an event as passed, with the error that it failed with; NULL if it was not tried. */
static void
insert_skipped(int projection, const EvsParkedEvent *event, bool parked, const ErrorData *error)
{
	Oid			types[] = {INT4OID, INT8OID, TEXTOID, INT8OID, TEXTOID, BOOLOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	char		nulls[lengthof(types) + 1] = "           ";
	const char *texts[] = {
		error ? unpack_sql_state(error->sqlerrcode) : NULL,
		error ? error->message : NULL,
		error ? error->detail : NULL,
		error ? error->hint : NULL,
		error ? error->context : NULL,
	};
	Datum		values[lengthof(types)] = {
		Int32GetDatum(projection), Int64GetDatum(event->position), event->stream,
		Int64GetDatum(event->version), event->type, BoolGetDatum(parked),
	};

	if (event->version == 0)
		nulls[2] = nulls[3] = 'n';
	for (int i = 0; i < lengthof(texts); i++)
	{
		nulls[6 + i] = texts[i] ? ' ' : 'n';
		values[6 + i] = texts[i] ? CStringGetTextDatum(texts[i]) : 0;
	}
	evs_owner_run_extension("INSERT INTO evstore._skipped (projection, \"position\", stream, version, type, parked,"
							" sqlstate, message, detail, hint, context)"
							" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
							lengthof(types), types, values, nulls, SPI_OK_INSERT);
}

/* Remember up to which version a stream is parked. */
static void
park_stream(int projection, const EvsParkedEvent *event)
{
	Oid			types[] = {INT4OID, TEXTOID, INT8OID};
	Datum		values[] = {Int32GetDatum(projection), event->stream, Int64GetDatum(event->version)};

	evs_owner_run_extension("INSERT INTO evstore._parked VALUES ($1, $2, $3)"
							" ON CONFLICT (projection, stream) DO UPDATE SET version = excluded.version",
							lengthof(types), types, values, NULL, SPI_OK_INSERT);
}

/* Park an event because its stream is, and move the checkpoint past it; false if that is elsewhere. Call inside SPI. */
bool
evs_park_hold(int projection, const EvsParkedEvent *event, EvsPosition checkpoint)
{
	if (!evs_checkpoint_pass(projection, checkpoint, event->position))
		return false;
	insert_skipped(projection, event, true, NULL);
	park_stream(projection, event);
	return true;
}

/*
 * Pass the event that the projection is recorded to have failed on, as its
 * policy says, and move the checkpoint past it; false if that is elsewhere.
 * *parked says whether its stream is held back from now on. Call inside SPI.
 */
bool
evs_park_give_up(const EvsProjection *projection, EvsPosition position, EvsPosition checkpoint,
				 const ErrorData *error, bool *parked)
{
	EvsParkedEvent event;

	if (!event_at(projection->event_table, position, &event))
		return false;
	/* What belongs to no stream has nothing that follows it. */
	*parked = projection->on_error == EVS_PARK && event.version != 0;
	if (!evs_checkpoint_give_up(projection->id, checkpoint, position, *parked))
		return false;
	insert_skipped(projection->id, &event, *parked, error);
	if (*parked)
		park_stream(projection->id, &event);
	return true;
}

/* What an error during a replay is about. */
static void
replay_context(void *arg)
{
	const EvsParkedEvent *event = arg;

	if (event->position != 0)
		errcontext("parked event at position %lld, version %lld of its stream",
				   (long long) event->position, (long long) event->version);
}

/* Apply the parked events that SPI has returned, each as a batch of its own. */
static void
replay(EvsApplied *applied, SPITupleTable *rows, uint64 count)
{
	EvsParkedEvent event = {0};
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
		(void) evs_apply_events(applied, (EvsBounds) {event.position - 1, event.position});
	}
	error_context_stack = context.previous;
}

/*
 * Apply the parked events of a stream, and park it no longer. The checkpoint
 * stays locked to the end of the transaction: no batch comes in between, and
 * the next one finds by its row that fewer streams are parked.
 */
static uint64
replay_stream(int projection, Datum stream)
{
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(projection), stream};
	EvsApplied *applied;
	SPITupleTable *rows;
	uint64		count;

	/* A batch locks the read table first, then its view, then its checkpoint. */
	applied = evs_apply_find(projection);
	if (applied == NULL)
		return 0;
	evs_projection_lock_view(applied->definition, AccessShareLock);
	evs_owner_run_extension("SELECT FROM evstore._checkpoint WHERE projection = $1 FOR UPDATE",
							1, types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return 0;
	evs_apply_check(applied->definition);
	evs_owner_run_extension("SELECT \"position\", version FROM evstore._skipped"
							" WHERE projection = $1 AND stream = $2 AND parked ORDER BY \"position\"",
							lengthof(types), types, values, NULL, SPI_OK_SELECT);
	rows = SPI_tuptable;
	count = SPI_processed;
	if (count == 0)
		return 0;
	replay(applied, rows, count);

	evs_owner_run_extension("WITH s AS (DELETE FROM evstore._skipped"
							"  WHERE projection = $1 AND stream = $2 AND parked RETURNING 1),"
							" p AS (DELETE FROM evstore._parked WHERE projection = $1 AND stream = $2 RETURNING 1)"
							" UPDATE evstore._checkpoint SET skipped = skipped - (SELECT count(*) FROM s),"
							"  parked = parked - (SELECT count(*) FROM p) WHERE projection = $1",
							lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	evs_projection_note_change();
	return count;
}

PG_FUNCTION_INFO_V1(evs_replay_parked);

/* evstore.replay_parked(projection, stream) */
Datum
evs_replay_parked(PG_FUNCTION_ARGS)
{
	uint64		count;

	SPI_connect();
	count = replay_stream(evs_projection_own(fcinfo, "evstore.replay_parked()"), PG_GETARG_DATUM(1));
	SPI_finish();
	PG_RETURN_INT64(count);
}
