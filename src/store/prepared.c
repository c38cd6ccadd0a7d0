/*
 * prepared.c
 *		Prepared transactions that have appended.
 *
 * After PREPARE TRANSACTION no backend holds the transaction's low any more,
 * and the safe position must stay below it all the same, through crashes and
 * restarts, until COMMIT PREPARED or ROLLBACK PREPARED. Two things take over:
 *
 *	the lock	A heavyweight lock of the transaction's own, whose tag spells the
 *				database and the low. PostgreSQL writes a transaction's locks
 *				into its two-phase state, takes them anew when it recovers the
 *				transaction, and gives them back when it is finished, after the
 *				transaction has ended for every new snapshot. The lock is the
 *				truth: as long as anybody holds it, the low counts. Those who
 *				happen to have the same low share it.
 *	the entry	An element {database, low, xid} of a shared array, so that
 *				readers need not search the lock table. An entry whose lock
 *				nobody holds is of the past, and removed by the next who looks.
 *				After the server's start the array is made from the lock table,
 *				before it is first used.
 *
 * The lock is taken before the entry is made, the entry before the backend's
 * own low is cleared; and readers look at the backends first, at the entries
 * second. What can come in between:
 *
 * - PREPARE TRANSACTION fails after the entry was made. The backend's low is
 *	 still there and is cleared at the abort, as ever. Aborting gives the lock
 *	 back, which makes the entry one of the past.
 * - A reader looks while the transaction is being prepared. It sees the low,
 *	 the entry, or both. The lock moves from the backend to the prepared
 *	 transaction within one hold of PostgreSQL's lock on it.
 * - A reader looks while the transaction is being finished. As long as the lock
 *	 is held the answer stays below; once it is not, a snapshot taken after
 *	 sees how the transaction ended.
 * - Between a reader's look at an entry and its removal, the element is given
 *	 to another transaction. Only the same database, low and xid are removed:
 *	 an xid is finished but once.
 * - The server starts, or a standby is promoted. Prepared transactions have
 *	 their locks back before anybody may write, and nothing here is asked
 *	 before that. Transactions prepared since then enter themselves, but load
 *	 the array first, so those that were recovered always find room in it.
 *
 * Neither xids nor snapshots decide anything, so none of this depends on how
 * old an xid is, or on being inside a transaction.
 *
 * The entries are guarded by evs_lock(). The count is changed under it and read
 * without: where it is 0, which it always is with max_prepared_transactions =
 * 0, that is all that a reader pays.
 */
#include "evstore.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/advisory.h"
#include "base/database.h"
#include "base/wakeup.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "port/atomics.h"
#include "storage/lock.h"
#include "store/prepared.h"

/* The count while the array has not been made from the lock table yet. */
#define NOT_LOADED	PG_UINT32_MAX

typedef struct PreparedTransactions
{
	pg_atomic_uint32 count;		/* entries in use, or NOT_LOADED */
	EvsPrepared entries[FLEXIBLE_ARRAY_MEMBER]; /* max_prepared_xacts of them */
} PreparedTransactions;

static PreparedTransactions *shared_prepared = NULL;

/* Size of this area. */
static Size
prepared_size(void)
{
	return add_size(offsetof(PreparedTransactions, entries),
					mul_size(max_prepared_xacts, sizeof(EvsPrepared)));
}

/* Remember where the area is; what is prepared must be found out, if anything can be. */
static void
prepared_attach(void *area, bool fresh)
{
	shared_prepared = area;
	if (fresh)
		pg_atomic_init_u32(&shared_prepared->count, max_prepared_xacts > 0 ? NOT_LOADED : 0);
}

const EvsShmemPart evs_prepared_shmem = {"evstore prepared transactions", prepared_size, prepared_attach};

/* The lock of transactions with this low. */
static void
lock_of(Oid database, uint64 low, LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, database, (uint32) (low >> 32), (uint32) low, EVS_LOCK_PREPARED);
}

/* Does a transaction, prepared or being prepared, still hold the entry's lock? */
static bool
is_held(const EvsPrepared *entry)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	int			count;

	lock_of(entry->database, entry->low, &tag);
	holders = GetLockConflicts(&tag, ExclusiveLock, &count);
	pfree(holders);
	return count > 0;
}

/* Make an entry where there is room; false if there is none. The caller holds evs_lock(). */
static bool
add_locked(const EvsPrepared *entry)
{
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		if (OidIsValid(shared_prepared->entries[i].database))
			continue;
		shared_prepared->entries[i] = *entry;
		return true;
	}
	return false;
}

/* After a start: make the entries of the prepared transactions that were recovered. */
static void
load(void)
{
	LockData   *locks = GetLockStatusData();
	uint32		count = 0;

	Assert(!RecoveryInProgress());
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	if (pg_atomic_read_u32(&shared_prepared->count) == NOT_LOADED)
	{
		for (int i = 0; i < locks->nelements; i++)
		{
			const LockInstanceData *lock = &locks->locks[i];
			EvsPrepared entry = {0};

			entry.xid = EVS_LOCK_RECOVERED_XID(lock);
			if (!TransactionIdIsValid(entry.xid) ||
				lock->locktag.locktag_type != LOCKTAG_ADVISORY ||
				lock->locktag.locktag_field4 != EVS_LOCK_PREPARED)
				continue;
			entry.database = lock->locktag.locktag_field1;
			entry.low = (uint64) lock->locktag.locktag_field2 << 32 | lock->locktag.locktag_field3;
			if (!add_locked(&entry))
				elog(ERROR, "more prepared transactions than max_prepared_transactions");
			count++;
		}
		pg_atomic_write_u32(&shared_prepared->count, count);
	}
	LWLockRelease(evs_lock());
	pfree(locks->locks);
	pfree(locks);
}

/* How many entries there are. */
static uint32
entry_count(void)
{
	uint32		count = pg_atomic_read_u32(&shared_prepared->count);

	if (count == NOT_LOADED)
	{
		load();
		count = pg_atomic_read_u32(&shared_prepared->count);
	}
	return count;
}

/* Remove an entry of the past, unless somebody has been faster. */
static void
remove_entry(const EvsPrepared *gone)
{
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		EvsPrepared *entry = &shared_prepared->entries[i];

		if (entry->database != gone->database || entry->low != gone->low || entry->xid != gone->xid)
			continue;
		entry->database = InvalidOid;
		pg_atomic_fetch_sub_u32(&shared_prepared->count, 1);
		break;
	}
	LWLockRelease(evs_lock());
}

/* A copy of the entries of one database, or of all (InvalidOid). */
static EvsPrepared *
copy_entries(Oid database, int *count)
{
	EvsPrepared *copy = palloc_array(EvsPrepared, Max(max_prepared_xacts, 1));

	*count = 0;
	LWLockAcquire(evs_lock(), LW_SHARED);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		const EvsPrepared *entry = &shared_prepared->entries[i];

		if (OidIsValid(entry->database) && (!OidIsValid(database) || entry->database == database))
			copy[(*count)++] = *entry;
	}
	LWLockRelease(evs_lock());
	return copy;
}

/*
 * The calling transaction is about to be prepared: hand its low over. What
 * the backend itself holds may be cleared as soon as PREPARE has succeeded.
 */
void
evs_prepared_add(uint64 low, TimestampTz since)
{
	EvsPrepared entry;
	LOCKTAG		tag;
	bool		added = false;

	/* PREPARE TRANSACTION is about to say so itself. */
	if (max_prepared_xacts == 0)
		return;

	entry.database = MyDatabaseId;
	entry.xid = GetTopTransactionId();
	entry.low = low;
	entry.since = since;
	(void) entry_count();
	lock_of(entry.database, entry.low, &tag);
	(void) LockAcquire(&tag, ShareLock, false, false);

	for (int attempt = 0; attempt < 2 && !added; attempt++)
	{
		/* Entries of the past that no reader has met yet may fill the array. */
		if (attempt > 0)
		{
			int			count;
			EvsPrepared *entries = copy_entries(InvalidOid, &count);

			for (int i = 0; i < count; i++)
				if (!is_held(&entries[i]))
					remove_entry(&entries[i]);
			pfree(entries);
		}
		LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
		added = add_locked(&entry);
		if (added)
			pg_atomic_fetch_add_u32(&shared_prepared->count, 1);
		LWLockRelease(evs_lock());
	}
	if (!added)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("too many prepared transactions"),
				 errhint("Increase max_prepared_transactions (now %d).", max_prepared_xacts)));
}

/*
 * "lowest", or the low of a prepared transaction of this database that is lower.
 * The caller has looked at the backends' lows before, and has no snapshot yet
 * that it would read events with.
 */
uint64
evs_prepared_lowest(uint64 lowest)
{
	int			count;
	EvsPrepared *entries;

	if (entry_count() == 0)
		return lowest;

	entries = copy_entries(MyDatabaseId, &count);
	for (int i = 0; i < count; i++)
	{
		if (entries[i].low >= lowest)
			continue;
		if (is_held(&entries[i]))
			lowest = entries[i].low;
		else
			remove_entry(&entries[i]);
	}
	pfree(entries);
	return lowest;
}

/* This database's entries; some may be of the past. */
EvsPrepared *
evs_prepared_list(int *count)
{
	if (!RecoveryInProgress())
		(void) entry_count();
	return copy_entries(MyDatabaseId, count);
}

/*
 * After COMMIT PREPARED or ROLLBACK PREPARED, of whatever transaction: wake a
 * worker, since nobody else knows that the safe position may have moved.
 */
void
evs_prepared_after_utility(Node *statement)
{
	TransactionStmtKind kind;
	EvsDatabaseSlot database;

	if (!IsA(statement, TransactionStmt) || !evs_shmem_ready())
		return;
	kind = castNode(TransactionStmt, statement)->kind;
	if (kind != TRANS_STMT_COMMIT_PREPARED && kind != TRANS_STMT_ROLLBACK_PREPARED)
		return;

	/* A database without a slot has no worker that could sleep. */
	database = evs_database_find(MyDatabaseId);
	if (database != EVS_NO_DATABASE)
		evs_wakeup_ring_worker(database);
}
