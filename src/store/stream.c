/*
 * stream.c
 *		A stream's lock, and its last version.
 *
 * Whoever adds to a stream first takes the stream's lock and learns its last
 * version. The lock is one of a fixed number of stripes, so that a bulk load
 * of many streams cannot fill the server's lock table. append() gives the lock
 * back as soon as its events are in the index, long before it commits: from
 * then on the events themselves, uncommitted, make the next writer of that
 * stream wait, and no writer of another stream that shares the stripe.
 *
 * The last version is read with a dirty snapshot, which also sees events that
 * are not committed yet. If the newest is somebody's who has not finished, we
 * let go of the lock, wait for them to commit or abort, and look again. So the
 * version is never stale, whatever the caller's isolation level, and the
 * unique index never has to wait or fail on our behalf; it stays as the proof.
 *
 * The lock is an advisory one as far as PostgreSQL is concerned, told apart
 * from the users' by its class.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "store/stream.h"
#include "store/table.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#define STRIPES		1024		/* a power of two */
#define LOCK_CLASS	0xE5		/* users' advisory locks are of class 1 and 2 */

/* The stripe of a stream. */
static void
stripe_of(Oid relid, const text *stream, LOCKTAG *tag)
{
	uint32		hash = hash_bytes((const unsigned char *) VARDATA_ANY(stream),
								  VARSIZE_ANY_EXHDR(stream));

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, relid, hash & (STRIPES - 1), LOCK_CLASS);
}

/* Let others add to the stream; what was added so far guards itself. */
void
evs_stream_unlock(Oid relid, const text *stream)
{
	LOCKTAG		tag;

	stripe_of(relid, stream, &tag);
	LockRelease(&tag, ExclusiveLock, false);
}

/*
 * The version of the stream's newest event, committed or our own, 0 if there
 * is none. If the newest is another transaction's that has not finished,
 * *writer is set to it.
 */
static EvsVersion
newest_version(Relation rel, Relation index, TupleTableSlot *slot, const text *stream,
			   TransactionId *writer)
{
	SnapshotData dirty;
	ScanKeyData key;
	IndexScanDesc scan;
	EvsVersion	version = 0;

	InitDirtySnapshot(dirty);
	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, PointerGetDatum(stream));
	scan = EVS_INDEX_BEGINSCAN(rel, index, &dirty, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	*writer = InvalidTransactionId;
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		bool		isnull;

		version = DatumGetInt64(slot_getattr(slot, EVS_COLUMN_VERSION, &isnull));
		*writer = dirty.xmin;
		ExecClearTuple(slot);
	}
	index_endscan(scan);
	return version;
}

/*
 * Lock a stream and return its last version, by the index on (stream, version).
 * "slot" is a buffer slot of the table, for our use. Give the lock back with evs_stream_unlock(), or leave
 * that to the end of the transaction.
 */
EvsVersion
evs_stream_lock(Relation rel, Relation version_index, TupleTableSlot *slot, const text *stream)
{
	Oid			relid = RelationGetRelid(rel);
	LOCKTAG		tag;
	EvsVersion	version;

	stripe_of(relid, stream, &tag);
	for (;;)
	{
		TransactionId writer;

		(void) LockAcquire(&tag, ExclusiveLock, false, false);
		version = newest_version(rel, version_index, slot, stream, &writer);
		if (!TransactionIdIsValid(writer))
			break;
		LockRelease(&tag, ExclusiveLock, false);
		XactLockTableWait(writer, rel, NULL, XLTW_None);
	}
	return version;
}
