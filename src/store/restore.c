/*
 * restore.c
 *		Events that come with their positions.
 *
 * A row that a plain INSERT or COPY brings with a position was an event before,
 * here or elsewhere. It must be whole, and is kept as it is. Rows may come in
 * any order of positions: pg_dump writes them as they lie in the heap.
 *
 * Such a position must not be one that an event of this database has, or will
 * be given. So it must lie
 *
 *	- beyond every position handed out so far. Until the transaction ends nobody
 *	  else is handed one (evs_position_hold()); afterwards they go on beyond the
 *	  highest that came. The transaction's low stood in place before, as for any
 *	  append, so the safe position stays below all of them, and readers and
 *	  projections miss nothing;
 *	- or anywhere, if the event table was empty when the transaction brought its
 *	  first event there. Whose events those positions were, only the owner can
 *	  know. Other writers are kept out of the table from before we look until
 *	  the transaction ends. Readers and projections that have come beyond such a
 *	  position do not go back for it.
 *
 * A mistyped position would use up those of the whole database, of which the
 * table is but a part. So whoever may not move the sequence otherwise can go on
 * by LONGEST_LEAP at once, and no further.
 *
 * All state is this backend's and one transaction's. What a subtransaction has
 * locked is let go when it is rolled back, and so is what is known from it.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/event.h"
#include "store/position.h"
#include "store/restore.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define LONGEST_LEAP	(INT64CONST(1) << 40)

/* An event table that this transaction restores. */
typedef struct RestoredTable
{
	Oid			relid;
	Oid			role;			/* whose right was checked */
	bool		was_empty;		/* and others are kept out */
	SubTransactionId since;
	SubTransactionId reused_since;	/* when the first came at a position handed out before; invalid if none did */
	struct RestoredTable *next;
} RestoredTable;

static RestoredTable *restored_tables = NULL;	/* the latest first */

/* Last position handed out before positions were held, or EVS_POSITION_NOT_HELD. */
static EvsPosition held = EVS_POSITION_NOT_HELD;
static SubTransactionId held_since;

/* Let positions go on beyond those that came, when the transaction has ended. */
static void
restore_before_commit(void)
{
	if (held != EVS_POSITION_NOT_HELD)
		evs_position_chosen(false);
}

/* The same, but at once: nobody could append until a prepared transaction is finished. */
static void
restore_before_prepare(void)
{
	if (held != EVS_POSITION_NOT_HELD)
		evs_position_chosen(true);
	held = EVS_POSITION_NOT_HELD;
}

/* The transaction is over; the tables were in its memory. */
static void
restore_finished(bool committed)
{
	restored_tables = NULL;
	held = EVS_POSITION_NOT_HELD;
}

/* A subtransaction was rolled back, and the locks are gone that it took. */
static void
restore_subxact_aborted(SubTransactionId subxact)
{
	while (restored_tables && restored_tables->since >= subxact)
		restored_tables = restored_tables->next;
	for (RestoredTable *restored = restored_tables; restored; restored = restored->next)
		if (restored->reused_since >= subxact)
			restored->reused_since = InvalidSubTransactionId;
	if (held_since >= subxact)
		held = EVS_POSITION_NOT_HELD;
}

const EvsXactSubscriber evs_restore_xact = {
	.before_commit = restore_before_commit,
	.before_prepare = restore_before_prepare,
	.finished = restore_finished,
	.subxact_aborted = restore_subxact_aborted,
};

/* Is there no event in the table, committed, ours, or of a transaction that has not finished? */
static bool
is_empty(Relation rel, const EvsTable *table)
{
	Relation	index = index_open(table->position_index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	SnapshotData dirty;
	IndexScanDesc scan;
	bool		found;

	InitDirtySnapshot(dirty);
	scan = EVS_INDEX_BEGINSCAN(rel, index, &dirty, 0);
	index_rescan(scan, NULL, 0, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	return !found;
}

/* Only the owner restores a table. */
static void
check_owner(Relation rel)
{
	if (!EVS_OWNS_TABLE(RelationGetRelid(rel), GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s to give events their positions", RelationGetRelationName(rel)),
				 errhint("Leave the column \"position\" out of the INSERT or COPY, to append new events.")));
}

/* What is known of a table; found out with its first event, and when the role changes. */
static RestoredTable *
restored_table(Relation rel, const EvsTable *table)
{
	RestoredTable *restored = restored_tables;

	while (restored && restored->relid != table->relid)
		restored = restored->next;
	if (restored && restored->role == GetUserId())
		return restored;

	check_owner(rel);
	if (restored == NULL)
	{
		restored = MemoryContextAllocZero(TopTransactionContext, sizeof(RestoredTable));
		restored->relid = table->relid;
		restored->since = GetCurrentSubTransactionId();
		if (is_empty(rel, table))
		{
			LockRelationOid(table->relid, ShareRowExclusiveLock);
			restored->was_empty = is_empty(rel, table);
		}
		restored->next = restored_tables;
		restored_tables = restored;
	}
	restored->role = GetUserId();
	return restored;
}

/* Refuse a row that cannot have been an event. What must not be NULL otherwise, the table refuses. */
static void
check_whole(const Datum *values, const bool *nulls)
{
	bool		streamless = nulls[EVS_COLUMN_STREAM - 1];

	if (DatumGetInt64(values[EVS_COLUMN_POSITION - 1]) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position %lld is not valid", (long long) DatumGetInt64(values[EVS_COLUMN_POSITION - 1])),
				 errhint("Positions count from 1.")));
	if (nulls[EVS_COLUMN_RECORDED_AT - 1] || nulls[EVS_COLUMN_SCHEMA_VERSION - 1] ||
		nulls[EVS_COLUMN_VERSION - 1] != streamless)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a restored event must be whole"),
				 errdetail("With its position go recorded_at, schema_version, and both stream and version or neither."),
				 errhint("Leave the column \"position\" out of the INSERT or COPY, to append new events.")));
	if (streamless)
		return;
	evs_event_check_stream(DatumGetTextPP(values[EVS_COLUMN_STREAM - 1]));
	if (DatumGetInt64(values[EVS_COLUMN_VERSION - 1]) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version %lld is not valid", (long long) DatumGetInt64(values[EVS_COLUMN_VERSION - 1])),
				 errhint("Versions count from 1.")));
}

/* Refuse to use up so many positions at once. */
static void
check_leap(EvsPosition position)
{
	if (position - held > LONGEST_LEAP &&
		pg_class_aclcheck(evs_catalog()->position_sequence, GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to go on to position %lld", (long long) position),
				 errdetail("Positions up to %lld have been handed out in this database.", (long long) held),
				 errhint("To go on by more than %lld needs UPDATE on sequence evstore.position_sequence.",
						 (long long) LONGEST_LEAP)));
}

/*
 * Take in a row that comes with a position, or refuse it. The columns other
 * than its type and data are checked here.
 */
void
evs_restore_row(Relation rel, EvsTable *table, const Datum *values, const bool *nulls)
{
	EvsPosition position = DatumGetInt64(values[EVS_COLUMN_POSITION - 1]);
	RestoredTable *restored;

	check_whole(values, nulls);
	restored = restored_table(rel, table);
	if (held == EVS_POSITION_NOT_HELD)
		held_since = GetCurrentSubTransactionId();
	held = evs_position_hold(held);
	if (position > held)
	{
		check_leap(position);
		evs_position_choose(position);
	}
	else if (!restored->was_empty)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position %lld is not free", (long long) position),
				 errdetail("Positions up to %lld have been handed out in this database.", (long long) held),
				 errhint("Restore into an empty event table, or leave the column \"position\" out to append new events.")));
	else if (restored->reused_since == InvalidSubTransactionId)
		restored->reused_since = GetCurrentSubTransactionId();
}

/*
 * Did this transaction restore events of a table at positions that were handed
 * out before? Other tables may have events at the same ones.
 */
bool
evs_restore_reused(Oid event_table)
{
	for (const RestoredTable *restored = restored_tables; restored; restored = restored->next)
		if (restored->relid == event_table)
			return restored->reused_since != InvalidSubTransactionId;
	return false;
}
