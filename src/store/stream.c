/*
 * stream.c
 *		The last version of a stream.
 *
 * Whoever adds to a stream first takes the stream's stripe (stripe.c) and
 * learns its last version. The stripe is given back as soon as the events are
 * in the index, long before they are committed: from then on the events
 * themselves make the next writer of that stream wait, and no writer of another
 * stream that shares the stripe.
 *
 * For the last version is read with a dirty snapshot, which also sees events
 * that are not committed yet. If the newest is somebody's who has not finished,
 * the reader gives back what it has taken, waits for them to commit or abort,
 * and looks again. So the version is never stale, whatever the caller's
 * isolation level, and the unique index never has to wait or fail on our
 * behalf; it stays as the proof.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "store/stream.h"
#include "store/table.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/*
 * The version of the stream's newest event, committed or our own, 0 if there
 * is none; by the index on (stream, version). "slot" is a buffer slot of the
 * table, for our use. If the newest is another transaction's that has not
 * finished, *writer is set to it; else it is left alone.
 */
EvsVersion
evs_stream_newest(Relation rel, Relation version_index, TupleTableSlot *slot,
				  const text *stream, TransactionId *writer)
{
	SnapshotData dirty;
	ScanKeyData key;
	IndexScanDesc scan;
	EvsVersion	version = 0;

	InitDirtySnapshot(dirty);
	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, PointerGetDatum(stream));
	scan = EVS_INDEX_BEGINSCAN(rel, version_index, &dirty, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		bool		isnull;

		version = DatumGetInt64(slot_getattr(slot, EVS_COLUMN_VERSION, &isnull));
		if (TransactionIdIsValid(dirty.xmin))
			*writer = dirty.xmin;
		ExecClearTuple(slot);
	}
	index_endscan(scan);
	return version;
}
