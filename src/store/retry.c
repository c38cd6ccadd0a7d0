/*
 * retry.c
 *		Idempotent retries: is this append stored already?
 *
 * Who does not hear whether an append was committed sends it again, with the
 * same ids. If its events are there, all of them, one behind the other where
 * the append would have put them, the answer is what it was the first time. The
 * events are the memory: it lasts as long as they do, and no cache forgets.
 *
 *	expected version n   they are at the versions from n + 1 on, if anywhere
 *	otherwise            the index on ids tells where the first one is
 *
 * Some of them there and some not is an error, as no answer would be right. So
 * is an id that belongs to an event of another stream or type.
 *
 * The caller holds the stream's stripe, and nobody else has unfinished events
 * in it. Events of no stream have no such shield: an unfinished one that is
 * found by its id is to be waited for.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "base/errors.h"
#include "catalog/pg_collation.h"
#include "store/retry.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

/* An event that is stored. */
typedef struct StoredEvent
{
	EvsPosition position;
	EvsVersion	version;		/* 0 if it has no stream */
	bool		same_stream;	/* as the append's */
	bool		same_type;		/* as the event's that it is compared with */
	bool		same_id;
} StoredEvent;

/* Does any event of an append have an id? */
bool
evs_retry_has_ids(const EvsAppend *append)
{
	for (int i = 0; i < append->count; i++)
		if (append->events[i].id)
			return true;
	return false;
}

/* Refuse an append of which a part is stored. */
void
evs_retry_refuse_partial(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_EVS_PARTIAL_RETRY),
			 errmsg("some events of this append are stored already, and some are not"),
			 errdetail("A retry repeats all events of an append, with the same ids in the same order."),
			 errhint("Give new events new ids.")));
}

/* Refuse an id that belongs to another event; "detail" says which id. */
void
evs_retry_refuse_id(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_EVS_ID_IN_USE),
			 errmsg("the id of an event belongs to another event"),
			 detail ? errdetail_internal("%s", detail) : 0,
			 errhint("A retry repeats stream and type as well. Give new events new ids.")));
}

/* The same, where we have found the other event ourselves. */
static void
refuse_id(const pg_uuid_t *id)
{
	evs_retry_refuse_id(psprintf("Key (id)=(%s) already exists.",
								 DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)))));
}

/* Are two texts the same? NULL is the same as NULL. */
static bool
same_text(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* What the row in the slot is, seen from an event of an append. */
static void
read_stored(TupleTableSlot *slot, const EvsAppend *append, const EvsEvent *event, StoredEvent *stored)
{
	bool		isnull;
	Datum		value;

	/* The slot outlives an error, a pin on its buffer would not. */
	ExecMaterializeSlot(slot);
	stored->position = DatumGetInt64(slot_getattr(slot, EVS_COLUMN_POSITION, &isnull));
	value = slot_getattr(slot, EVS_COLUMN_VERSION, &isnull);
	stored->version = isnull ? 0 : DatumGetInt64(value);
	value = slot_getattr(slot, EVS_COLUMN_STREAM, &isnull);
	stored->same_stream = same_text(isnull ? NULL : DatumGetTextPP(value), append->stream);
	value = slot_getattr(slot, EVS_COLUMN_TYPE, &isnull);
	stored->same_type = same_text(DatumGetTextPP(value), event->type);
	value = slot_getattr(slot, EVS_COLUMN_ID, &isnull);
	stored->same_id = !isnull && event->id &&
		memcmp(DatumGetUUIDP(value), event->id, sizeof(pg_uuid_t)) == 0;
	ExecClearTuple(slot);
}

/*
 * Find the stored event that has the id of an event. One that another
 * transaction has not finished counts as not found, and sets *unfinished.
 */
static bool
find_by_id(EvsTable *table, Relation rel, const EvsAppend *append,
		   const EvsEvent *event, StoredEvent *stored, TransactionId *unfinished)
{
	Relation	index = index_open(table->id_index, AccessShareLock);
	SnapshotData dirty;
	ScanKeyData key;
	IndexScanDesc scan;
	bool		found;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(event->id));
	scan = EVS_INDEX_BEGINSCAN(rel, index, &dirty, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, table->probe);
	if (found)
		read_stored(table->probe, append, event, stored);
	if (found && TransactionIdIsValid(dirty.xmin))
	{
		*unfinished = dirty.xmin;
		found = false;
	}
	index_endscan(scan);
	index_close(index, NoLock);
	return found;
}

/*
 * Compare the events of an append with those stored from a version of its
 * stream on (without a stream, from a position on). If all are there, the
 * append is told where its last event is.
 */
static bool
compare_from(EvsTable *table, Relation rel, EvsAppend *append, int64 first)
{
	bool		by_version = append->stream != NULL;
	Relation	index = index_open(by_version ? table->version_index : table->position_index, AccessShareLock);
	SnapshotData dirty;
	ScanKeyData keys[2];
	IndexScanDesc scan;
	StoredEvent stored = {0};
	int			same = 0;

	InitDirtySnapshot(dirty);
	if (by_version)
		ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXTEQ, PointerGetDatum(append->stream));
	ScanKeyInit(&keys[by_version ? 1 : 0], by_version ? 2 : 1, BTGreaterEqualStrategyNumber,
				F_INT8GE, Int64GetDatum(first));
	scan = EVS_INDEX_BEGINSCAN(rel, index, &dirty, by_version ? 2 : 1);
	index_rescan(scan, keys, by_version ? 2 : 1, NULL, 0);
	for (int i = 0; i < append->count && index_getnext_slot(scan, ForwardScanDirection, table->probe); i++)
	{
		read_stored(table->probe, append, &append->events[i], &stored);
		if (!stored.same_id)
			continue;
		if (!stored.same_type || !stored.same_stream)
			refuse_id(append->events[i].id);
		same++;
	}
	index_endscan(scan);
	index_close(index, NoLock);

	if (same > 0 && same < append->count)
		evs_retry_refuse_partial();
	if (same == 0)
		return false;
	append->version = stored.version;
	append->position = stored.position;
	return true;
}

/* Find an append by the ids alone. */
static bool
find_anywhere(EvsTable *table, Relation rel, EvsAppend *append, TransactionId *unfinished)
{
	for (int i = 0; i < append->count; i++)
	{
		const EvsEvent *event = &append->events[i];
		StoredEvent stored;

		if (event->id == NULL ||
			!find_by_id(table, rel, append, event, &stored, unfinished))
			continue;
		if (!stored.same_stream || !stored.same_type)
			refuse_id(event->id);
		if (i > 0)
			evs_retry_refuse_partial();
		return compare_from(table, rel, append, append->stream ? stored.version : stored.position);
	}
	return false;
}

/*
 * Is this append stored already? Then it is told where its last event is. Its
 * version is the stream's last one until then.
 */
bool
evs_retry_find(EvsTable *table, Relation rel, EvsAppend *append, TransactionId *unfinished)
{
	if (!evs_retry_has_ids(append))
		return false;
	if (append->expected < 0)
		return find_anywhere(table, rel, append, unfinished);
	if (append->version <= append->expected)
		return false;
	return compare_from(table, rel, append, append->expected + 1);
}
