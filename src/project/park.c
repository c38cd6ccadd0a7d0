/*
 * park.c
 *		Events that a projection passes without applying them.
 *
 * Such an event gets a row of evstore._skipped, in the transaction that moves
 * the checkpoint past it: it is recorded once, and applied never. It is skipped
 * for good, or parked. Then its stream gets a row of evstore._parked, and each
 * later event of that stream is parked, too, when its turn comes, so that none
 * is applied before one that it follows. evstore.replay_parked() applies them,
 * and takes both away. A stream is one of one event table: those of the same name
 * in two tables have versions of their own, and nothing to do with one another.
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
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "project/batch.h"
#include "project/checkpoint.h"
#include "project/park.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/* So many events are held back in one batch at most. */
#define MOST_HELD 1000

/* What is kept of an event that is passed. */
typedef struct PassedEvent
{
	Oid			event_table;
	EvsPosition position;
	EvsVersion	version;		/* 0 if it has no stream */
	Datum		stream;			/* text; nothing if it has no stream */
	Datum		type;			/* text */
} PassedEvent;

typedef struct ParkedStream
{
	Oid			event_table;
	text	   *name;
	EvsVersion	version;		/* all up to here have been passed */
	bool		moved;			/* in this batch */
} ParkedStream;

struct EvsParked
{
	int			count;
	ParkedStream streams[FLEXIBLE_ARRAY_MEMBER];
};

/* An open event table, and an index of it by which events are looked for. */
typedef struct Search
{
	Relation	rel;
	Relation	index;
	TupleTableSlot *slot;
	Snapshot	snapshot;
	IndexScanDesc scan;
} Search;

/* Begin to look for events by so many keys, on position, or on stream and version. */
static void
search_begin(Search *search, Oid event_table, int keys)
{
	EvsTable   *table = evs_table_open(event_table, AccessShareLock, &search->rel);

	search->index = index_open(keys == 1 ? table->position_index : table->version_index, AccessShareLock);
	search->slot = table_slot_create(search->rel, NULL);
	search->snapshot = RegisterSnapshot(GetLatestSnapshot());
	search->scan = EVS_INDEX_BEGINSCAN(search->rel, search->index, search->snapshot, keys);
}

/* The end of it. */
static void
search_end(Search *search)
{
	index_endscan(search->scan);
	UnregisterSnapshot(search->snapshot);
	ExecDropSingleTupleTableSlot(search->slot);
	index_close(search->index, AccessShareLock);
	evs_table_close(search->rel);
}

/* The next event that is found, false if there is none. Its texts are those of the slot. */
static bool
search_next(Search *search, PassedEvent *event)
{
	bool		no_stream;
	bool		isnull;

	if (!index_getnext_slot(search->scan, ForwardScanDirection, search->slot))
		return false;
	event->event_table = RelationGetRelid(search->rel);
	event->position = DatumGetInt64(slot_getattr(search->slot, EVS_COLUMN_POSITION, &isnull));
	event->stream = slot_getattr(search->slot, EVS_COLUMN_STREAM, &no_stream);
	event->version = no_stream ? 0 : DatumGetInt64(slot_getattr(search->slot, EVS_COLUMN_VERSION, &isnull));
	event->type = slot_getattr(search->slot, EVS_COLUMN_TYPE, &isnull);
	return true;
}

/*
 * Load the streams that are parked. Call inside SPI, with the checkpoint
 * locked, whose row says how many there are.
 */
EvsParked *
evs_park_load(const EvsProjection *projection, int streams)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(projection->id)};
	EvsParked  *parked = palloc(offsetof(EvsParked, streams) + streams * sizeof(ParkedStream));

	evs_owner_run_extension("SELECT stream, version, event_table::oid FROM evstore._parked WHERE projection = $1",
							lengthof(types), types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed != streams)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the parked streams of projection \"%s\" are not complete", projection->name),
				 errdetail("There are %llu of %d.", (unsigned long long) SPI_processed, streams),
				 errhint("While a dump is being restored, they come later.")));
	parked->count = streams;
	for (int i = 0; i < streams; i++)
	{
		bool		isnull;
		HeapTuple	row = SPI_tuptable->vals[i];

		parked->streams[i].name = DatumGetTextPP(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		parked->streams[i].version = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		parked->streams[i].event_table = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		parked->streams[i].moved = false;
	}
	return parked;
}

/* The position of the first event of a table's parked streams that was not passed yet, 0 if there is none. */
static EvsPosition
next_in_table(Oid event_table, const EvsParked *parked)
{
	EvsPosition next = 0;
	Search		search;

	search_begin(&search, event_table, 2);
	for (int i = 0; i < parked->count; i++)
	{
		const ParkedStream *stream = &parked->streams[i];
		ScanKeyData keys[2];
		PassedEvent event;

		if (stream->event_table != event_table)
			continue;
		ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID, F_TEXTEQ,
							   PointerGetDatum(stream->name));
		ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(stream->version));
		index_rescan(search.scan, keys, 2, NULL, 0);
		if (search_next(&search, &event) && (next == 0 || event.position < next))
			next = event.position;
	}
	search_end(&search);
	return next;
}

/* The same of all of a projection's tables, 0 if there is none up to "to". */
EvsPosition
evs_park_next(const EvsProjection *projection, const EvsParked *parked, EvsPosition to)
{
	EvsPosition first = 0;
	ListCell   *cell;

	foreach(cell, projection->event_tables)
	{
		EvsPosition next = next_in_table(lfirst_oid(cell), parked);

		if (next != 0 && next <= to && (first == 0 || next < first))
			first = next;
	}
	return first;
}

/* The parked stream of an event, or NULL. */
static ParkedStream *
stream_of(EvsParked *parked, const PassedEvent *event)
{
	text	   *name = event->version != 0 ? DatumGetTextPP(event->stream) : NULL;

	for (int i = 0; name && i < parked->count; i++)
		if (parked->streams[i].event_table == event->event_table &&
			VARSIZE_ANY_EXHDR(parked->streams[i].name) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(VARDATA_ANY(parked->streams[i].name), VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) == 0)
			return &parked->streams[i];
	return NULL;
}

/* Record an event as passed, with the error that it failed with; NULL if it was not tried. */
static void
insert_skipped(int projection, const PassedEvent *event, bool parked, const ErrorData *error)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT4OID, INT8OID, TEXTOID, INT8OID, TEXTOID, BOOLOID, OIDOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	char		nulls[lengthof(types) + 1] = "            ";
	const char *texts[] = {
		error ? unpack_sql_state(error->sqlerrcode) : NULL,
		error ? error->message : NULL,
		error ? error->detail : NULL,
		error ? error->hint : NULL,
		error ? error->context : NULL,
	};
	Datum		values[lengthof(types)] = {
		Int32GetDatum(projection), Int64GetDatum(event->position), event->stream,
		Int64GetDatum(event->version), event->type, BoolGetDatum(parked), ObjectIdGetDatum(event->event_table),
	};
	EvsOwnerFrame frame;

	if (event->version == 0)
		nulls[2] = nulls[3] = 'n';
	for (int i = 0; i < lengthof(texts); i++)
	{
		nulls[7 + i] = texts[i] ? ' ' : 'n';
		values[7 + i] = texts[i] ? CStringGetTextDatum(texts[i]) : 0;
	}
	evs_owner_begin_extension(&frame);
	if (plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare("INSERT INTO evstore._skipped (projection, \"position\", stream, version,"
										   " type, parked, event_table, sqlstate, message, detail, hint, context)"
										   " VALUES ($1, $2, $3, $4, $5, $6, $7::regclass, $8, $9, $10, $11, $12)",
										   lengthof(types), types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare a statement over evstore._skipped");
		plan = prepared;
	}
	if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not add to evstore._skipped");
	evs_owner_end(&frame);
}

/* Remember up to which version a stream is parked. */
static void
park_stream(int projection, Oid event_table, Datum stream, EvsVersion version)
{
	Oid			types[] = {INT4OID, OIDOID, TEXTOID, INT8OID};
	Datum		values[] = {Int32GetDatum(projection), ObjectIdGetDatum(event_table), stream, Int64GetDatum(version)};

	evs_owner_run_extension("INSERT INTO evstore._parked (projection, event_table, stream, version)"
							" VALUES ($1, $2::regclass, $3, $4)"
							" ON CONFLICT (projection, event_table, stream) DO UPDATE SET version = excluded.version",
							lengthof(types), types, values, NULL, SPI_OK_INSERT);
}

/* Events of several tables, to be had in the order of their positions. */
typedef struct Merge
{
	int			count;
	Search	   *searches;		/* one a table */
	PassedEvent *heads;			/* what each has found; the position is 0 if there is no more */
} Merge;

/* Go on in one of the tables. */
static void
merge_advance(Merge *merge, int table)
{
	if (!search_next(&merge->searches[table], &merge->heads[table]))
		merge->heads[table].position = 0;
}

/* Begin with the first event of each of a projection's tables at a position or after it. */
static void
merge_begin(Merge *merge, const EvsProjection *projection, EvsPosition first)
{
	ScanKeyData key;
	ListCell   *cell;

	merge->count = list_length(projection->event_tables);
	merge->searches = palloc_array(Search, merge->count);
	merge->heads = palloc_array(PassedEvent, merge->count);
	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(first));
	foreach(cell, projection->event_tables)
	{
		int			table = foreach_current_index(cell);

		search_begin(&merge->searches[table], lfirst_oid(cell), 1);
		index_rescan(merge->searches[table].scan, &key, 1, NULL, 0);
		merge_advance(merge, table);
	}
}

/* The table that has the next event, -1 if none has. */
static int
merge_next(const Merge *merge)
{
	int			next = -1;

	for (int i = 0; i < merge->count; i++)
		if (merge->heads[i].position != 0 && (next < 0 || merge->heads[i].position < merge->heads[next].position))
			next = i;
	return next;
}

/* Does another table have an event at the position of the next one of this table? */
static bool
merge_is_shared(const Merge *merge, int table)
{
	for (int i = 0; i < merge->count; i++)
		if (i != table && merge->heads[i].position == merge->heads[table].position)
			return true;
	return false;
}

/* The end of it. */
static void
merge_end(Merge *merge)
{
	for (int i = 0; i < merge->count; i++)
		search_end(&merge->searches[i]);
}

/*
 * Park the event at "first", whose stream is parked, and those up to "to" that
 * follow it without another in between, in whichever table, and move the
 * checkpoint past them. Returns the position of the last of them, 0 if the
 * checkpoint is elsewhere. Call inside SPI.
 */
EvsPosition
evs_park_hold(const EvsProjection *projection, EvsParked *parked, EvsPosition checkpoint, EvsPosition first, EvsPosition to)
{
	EvsPosition last = 0;
	int			count = 0;
	int			table;
	Merge		merge;

	evs_batch_check_alone(projection, first);
	merge_begin(&merge, projection, first);
	while (count < MOST_HELD && (table = merge_next(&merge)) >= 0)
	{
		const PassedEvent *event = &merge.heads[table];
		ParkedStream *stream = event->position <= to ? stream_of(parked, event) : NULL;

		if (stream == NULL || (count > 0 && merge_is_shared(&merge, table)))
			break;
		insert_skipped(projection->id, event, true, NULL);
		stream->version = event->version;
		stream->moved = true;
		last = event->position;
		count++;
		merge_advance(&merge, table);
	}
	merge_end(&merge);
	Assert(count > 0);
	for (int i = 0; i < parked->count; i++)
	{
		const ParkedStream *stream = &parked->streams[i];

		if (stream->moved)
			park_stream(projection->id, stream->event_table, PointerGetDatum(stream->name), stream->version);
	}
	return evs_checkpoint_pass(projection->id, checkpoint, last, count) ? last : 0;
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
	Search		search;
	ScanKeyData key;
	PassedEvent event;
	bool		done = false;
	ListCell   *cell;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(position));
	/* It is in one of the projection's tables. */
	foreach(cell, projection->event_tables)
	{
		bool		found;

		search_begin(&search, lfirst_oid(cell), 1);
		index_rescan(search.scan, &key, 1, NULL, 0);
		found = search_next(&search, &event);
		if (found)
		{
			/* What belongs to no stream has nothing that follows it. */
			*parked = projection->on_error == EVS_PARK && event.version != 0;
			done = evs_checkpoint_give_up(projection->id, checkpoint, position, *parked);
		}
		if (done)
		{
			insert_skipped(projection->id, &event, *parked, error);
			if (*parked)
				park_stream(projection->id, event.event_table, event.stream, event.version);
		}
		search_end(&search);
		if (found)
			break;
	}
	return done;
}
