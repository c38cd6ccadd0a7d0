/*
 * position.c
 *		Positions: the exact global order.
 *
 * Positions are handed out before commit, so a reader that saw 7 may later
 * find 6 committed. The safe position is the answer: the highest position
 * such that every committed event at or below it is visible to any snapshot
 * taken after it was read. It is exact, and no writer waits for another.
 *
 * Shared memory holds, for each database, the next position to hand out and
 * the limit up to which positions are reserved; and for each backend the
 * lowest position that its open transaction may hold (0 when it holds none).
 *
 *	writer: low := next (once a transaction); full barrier; take from next
 *			... insert, commit or abort ...
 *			after ProcArrayEndTransaction: low := 0; full barrier; ring
 *	reader: n := next; barrier; safe := min(n, every low) - 1; barrier;
 *			THEN take a snapshot
 *
 * Why it holds. Let a position p be committed and at or below "safe", and let
 * W be its writer. W's low was stored before p was taken and is at most p. The
 * reader saw next > p, so p had been taken before, so W's low was already in
 * place when the reader looked at it, unless W had cleared it; a low at most p
 * would have kept "safe" below p. So W had cleared it, which it does only when
 * its transaction is no longer running for any snapshot taken from then on.
 *
 * What the rest of the code must keep to (the numbers of docs/architecture.md):
 *	1. A reserved range is on disk before the limit rises, so that a crash
 *	   cannot hand out a position again, not even under asynchronous commit.
 *	2. low is stored before the first position is taken.
 *	3. low is cleared at the end of the top-level transaction, by nobody else.
 *	4. Read the safe position first, take the snapshot second.
 *	11. "next" is loaded from the sequence only outside recovery, and belongs
 *	   to one (database, sequence).
 *
 * A transaction that restores events (restore.c) chooses positions beyond next,
 * while nobody else is handed any. next passes them before it ends, and so
 * before low is cleared: for the argument above they were taken then.
 *
 * PREPARE TRANSACTION hands low over to prepared.c, where it counts until the
 * transaction is finished.
 *
 * next, limit and low are atomics without a lock. The keys of a database's
 * element change only under a self-exclusive lock on the sequence.
 */
#include "evstore.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/catalog.h"
#include "base/counters.h"
#include "base/database.h"
#include "base/settings.h"
#include "base/wakeup.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "store/position.h"
#include "store/prepared.h"
#include "store/sequence.h"
#include "utils/timestamp.h"

/* One a database slot. */
typedef struct DatabasePositions
{
	Oid			database;		/* whose positions these are; see "keys" above */
	Oid			sequence;		/* InvalidOid until loaded */
	pg_atomic_uint64 next;		/* next position to hand out; only rises */
	pg_atomic_uint64 limit;		/* last position reserved on disk; only rises */
} DatabasePositions;

/* One a backend, written by that backend alone; on a cache line of its own. */
typedef union Appender
{
	struct
	{
		pg_atomic_uint64 low;	/* at or below every position of the open transaction, 0 if it has none */
		EvsDatabaseSlot database;	/* valid while low is set */
		int			pid;
		TimestampTz since;
	}			f;
	char		pad[PG_CACHE_LINE_SIZE];
} Appender;

static DatabasePositions *shared_databases = NULL;
static Appender *shared_appenders = NULL;

static Appender *my_appender = NULL;	/* set at this backend's first append */

/* Of positions that are given from outside, see evs_position_hold(). */
static uint64 given_highest = 0;	/* of this transaction, 0 where next has passed them */
static uint64 held_limit = 0;	/* the limit while they are held; valid until then */

/* Of this session: what it has committed last, and the sequence that counts in. */
static EvsPosition taken_last = 0;	/* highest position of the open transaction, 0 if it has none */
static int64 taken_count = 0;	/* how many it has been given */
static EvsPosition session_last = 0;
static Oid	session_sequence = InvalidOid;

/* Size of this area. */
static Size
position_size(void)
{
	return add_size(mul_size(MaxBackends, sizeof(Appender)),
					mul_size(evs_max_databases, sizeof(DatabasePositions)));
}

/* Remember where the area is; nothing is handed out at first. */
static void
position_attach(void *area, bool fresh)
{
	shared_appenders = area;
	shared_databases = (DatabasePositions *) (shared_appenders + MaxBackends);
	if (!fresh)
		return;

	for (int i = 0; i < MaxBackends; i++)
		pg_atomic_init_u64(&shared_appenders[i].f.low, 0);
	for (int i = 0; i < evs_max_databases; i++)
	{
		pg_atomic_init_u64(&shared_databases[i].next, 0);
		pg_atomic_init_u64(&shared_databases[i].limit, 0);
	}
}

const EvsShmemPart evs_position_shmem = {"evstore positions", position_size, position_attach};

/* Start handing out positions of this database, if nobody has since the server's start. */
static void
load_positions(DatabasePositions *positions, Oid sequence)
{
	LockRelationOid(sequence, ShareUpdateExclusiveLock);
	if (positions->database != MyDatabaseId || positions->sequence != sequence)
	{
		uint64		end;
		uint64		first = evs_sequence_reserve(sequence, &end);

		/* Nobody may take the old numbers for the new sequence's. */
		positions->sequence = InvalidOid;
		pg_write_barrier();
		pg_atomic_write_u64(&positions->limit, end);
		pg_atomic_write_u64(&positions->next, first);
		positions->database = MyDatabaseId;
		pg_write_barrier();
		positions->sequence = sequence;
	}
	UnlockRelationOid(sequence, ShareUpdateExclusiveLock);
}

/*
 * This database's positions; NULL if none has been handed out since the
 * server's start and "load" does not ask for it.
 */
static DatabasePositions *
my_positions(bool load)
{
	DatabasePositions *positions = &shared_databases[evs_database_slot()];
	Oid			sequence = evs_catalog()->position_sequence;

	if (positions->sequence != sequence || positions->database != MyDatabaseId)
	{
		if (!load)
			return NULL;
		PreventCommandDuringRecovery("evstore.append()");
		load_positions(positions, sequence);
	}
	pg_read_barrier();
	return positions;
}

/*
 * Let positions go on beyond those that this transaction was given from outside.
 * The sequence first: whoever is let in by next must find it there.
 */
static void
pass_given(DatabasePositions *positions)
{
	uint64		next = pg_atomic_read_u64(&positions->next);

	if (given_highest == 0)
		return;
	if (evs_sequence_last(positions->sequence) < given_highest)
		evs_sequence_move(positions->sequence, given_highest);
	while (next <= given_highest)
		if (pg_atomic_compare_exchange_u64(&positions->next, &next, given_highest + 1))
			break;
	given_highest = 0;
}

/*
 * Raise the limit until "count" positions from next are reserved. Ranges
 * usually follow each other without a gap. Where they do not (somebody moved
 * the sequence forward), next jumps over the gap before the limit rises, so
 * that nobody is given a position in between. A sequence that stands behind
 * (somebody moved it backwards) is put right.
 */
static void
reserve(DatabasePositions *positions, int count)
{
	Oid			sequence = positions->sequence;

	LockRelationOid(sequence, ShareUpdateExclusiveLock);
	pass_given(positions);
	for (;;)
	{
		uint64		next = pg_atomic_read_u64(&positions->next);
		uint64		limit = pg_atomic_read_u64(&positions->limit);
		uint64		first;
		uint64		end;

		if (next + count - 1 <= limit)
			break;

		first = evs_sequence_reserve(sequence, &end);
		if (first <= limit || end < next)
		{
			evs_sequence_move(sequence, Max(limit, next - 1));
			continue;
		}
		while (first > limit + 1 && next < first)
			if (pg_atomic_compare_exchange_u64(&positions->next, &next, first))
				break;
		pg_atomic_write_u64(&positions->limit, end);
	}
	UnlockRelationOid(sequence, ShareUpdateExclusiveLock);
}

/* This backend holds nothing any more; also at its exit. */
static void
clear_appender(int code, Datum arg)
{
	pg_atomic_write_u64(&my_appender->f.low, 0);
}

/* Announce the lowest position this transaction can be given (invariant 2). */
static void
register_appender(DatabasePositions *positions)
{
	if (my_appender == NULL)
	{
		my_appender = &shared_appenders[EVS_MY_PROC_NUMBER()];
		on_shmem_exit(clear_appender, (Datum) 0);
	}
	if (pg_atomic_read_u64(&my_appender->f.low) != 0)
		return;

	my_appender->f.database = evs_database_slot();
	my_appender->f.pid = MyProcPid;
	my_appender->f.since = GetCurrentStatementStartTimestamp();
	pg_write_barrier();
	pg_atomic_write_u64(&my_appender->f.low, pg_atomic_read_u64(&positions->next));
	pg_memory_barrier();
}

/* The transaction was given "count" positions up to this. */
static void
note_taken(const DatabasePositions *positions, EvsPosition position, int count)
{
	if (session_sequence != positions->sequence)
		session_last = 0;
	session_sequence = positions->sequence;
	taken_last = Max(taken_last, position);
	taken_count += count;
}

/*
 * Hand out "count" consecutive positions and return the first. The caller
 * knows its stream's last version already and holds the stream's lock, which
 * makes version order position order (invariant 5).
 */
EvsPosition
evs_position_allocate(int count)
{
	DatabasePositions *positions = my_positions(true);

	register_appender(positions);
	for (;;)
	{
		uint64		first = pg_atomic_read_u64(&positions->next);

		if (first + count - 1 > pg_atomic_read_u64(&positions->limit))
			reserve(positions, count);
		else if (pg_atomic_compare_exchange_u64(&positions->next, &first, first + count))
		{
			note_taken(positions, first + count - 1, count);
			return first;
		}
	}
}

/*
 * From now until the calling transaction ends, nobody else is handed a
 * position: what is left of the reserved range is taken away, and who would
 * reserve another waits. Returns the last position handed out before: all
 * beyond it are free for the caller to choose among. To be called again, with
 * the last answer, before each choice, since the transaction itself may have
 * appended meanwhile; with EVS_POSITION_NOT_HELD at first. Should a
 * subtransaction that held them be rolled back, they are not held any more.
 */
EvsPosition
evs_position_hold(EvsPosition held)
{
	DatabasePositions *positions = my_positions(true);
	uint64		next;
	uint64		limit;

	if (held == EVS_POSITION_NOT_HELD)
	{
		register_appender(positions);
		LockRelationOid(positions->sequence, ShareUpdateExclusiveLock);
	}
	limit = pg_atomic_read_u64(&positions->limit);
	if (held != EVS_POSITION_NOT_HELD && limit == held_limit)
		return held;

	next = pg_atomic_read_u64(&positions->next);
	while (next <= limit)
		if (pg_atomic_compare_exchange_u64(&positions->next, &next, limit + 1))
			break;
	held_limit = limit;
	return next - 1;
}

/* A position was chosen, while they are held: those handed out later go beyond it. */
void
evs_position_choose(EvsPosition position)
{
	given_highest = Max(given_highest, (uint64) position);
	note_taken(my_positions(true), position, 1);
}

/*
 * All positions are chosen: others can go on beyond them, at once (release) or
 * when the transaction ends.
 */
void
evs_position_chosen(bool release)
{
	DatabasePositions *positions;

	/* Dropped in this very transaction: there are no more positions. */
	if (evs_catalog_find() == NULL)
		return;
	positions = my_positions(true);
	pass_given(positions);
	if (release)
		UnlockRelationOid(positions->sequence, ShareUpdateExclusiveLock);
}

/*
 * The last position reserved, where none was handed out since the server's
 * start; false if this has changed meanwhile. Under the lock, nobody stands
 * between reserving a first range and publishing it: whatever is handed out
 * later lies beyond the answer.
 */
static bool
last_of_earlier_runs(EvsPosition *last)
{
	Oid			sequence = evs_catalog()->position_sequence;
	bool		unloaded;

	LockRelationOid(sequence, ShareUpdateExclusiveLock);
	unloaded = my_positions(false) == NULL;
	if (unloaded)
		*last = evs_sequence_last(sequence);
	UnlockRelationOid(sequence, ShareUpdateExclusiveLock);
	return unloaded;
}

/* The positions of a running server; refused where only the primary knows them. */
void
evs_position_require_primary(void)
{
	evs_shmem_require();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the safe position is not known during recovery"),
				 errhint("Ask the primary.")));
}

/* The lowest position that may still be taken or is held by an open transaction. */
static uint64
lowest_open(const DatabasePositions *positions)
{
	EvsDatabaseSlot database = evs_database_slot();
	uint64		lowest = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &positions->next));

	pg_memory_barrier();
	for (int i = 0; i < MaxBackends; i++)
	{
		uint64		low = pg_atomic_read_u64(&shared_appenders[i].f.low);

		if (low == 0 || low >= lowest)
			continue;
		pg_read_barrier();
		if (shared_appenders[i].f.database == database)
			lowest = low;
	}
	/* What PREPARE TRANSACTION has cleared meanwhile stands among the prepared ones. */
	pg_memory_barrier();
	lowest = evs_prepared_lowest(lowest);
	pg_memory_barrier();
	return lowest;
}

/*
 * The safe position. Take a new snapshot after reading it, never before
 * (invariant 4). Not known during recovery: the primary's open transactions
 * are not in this server's shared memory.
 */
EvsPosition
evs_position_safe(void)
{
	EvsPosition last;

	evs_position_require_primary();
	/* Of transactions from before the server's start, those that were prepared are still open. */
	if (my_positions(false) == NULL && last_of_earlier_runs(&last))
		return evs_prepared_lowest(last + 1) - 1;
	return lowest_open(my_positions(true)) - 1;
}

/*
 * The safe position as far as shared memory alone tells it, 0 where it tells
 * nothing: for a worker that wonders, outside any transaction, whether there
 * is work. "sequence" is the position sequence as the worker knows it.
 */
EvsPosition
evs_position_peek(Oid sequence)
{
	const DatabasePositions *positions = &shared_databases[evs_database_slot()];

	if (positions->database != MyDatabaseId || positions->sequence != sequence)
		return 0;
	pg_read_barrier();
	return lowest_open(positions) - 1;
}

/* The last position handed out so far, committed or not. */
EvsPosition
evs_position_last(void)
{
	EvsPosition last;

	evs_position_require_primary();
	if (my_positions(false) == NULL && last_of_earlier_runs(&last))
		return last;
	return pg_atomic_read_u64(&my_positions(true)->next) - 1;
}

/* The lowest position the calling transaction may hold, 0 if it holds none. */
EvsPosition
evs_position_mine(void)
{
	return my_appender ? pg_atomic_read_u64(&my_appender->f.low) : 0;
}

/* The last position of an append that this session has committed, 0 if there is none. */
EvsPosition
evs_position_session_last(void)
{
	const EvsCatalog *catalog;

	if (session_last == 0)
		return 0;
	catalog = evs_catalog_find();
	return catalog && catalog->position_sequence == session_sequence ? session_last : 0;
}

/*
 * The transaction is over for every new snapshot: let the safe position move,
 * and wake a worker (an abort lets it move too).
 */
static void
position_finished(bool committed)
{
	given_highest = 0;
	if (committed && taken_count > 0)
	{
		session_last = Max(session_last, taken_last);
		evs_count(my_appender->f.database, EVS_COUNT_TRANSACTIONS, 1);
		evs_count(my_appender->f.database, EVS_COUNT_EVENTS, taken_count);
	}
	taken_last = taken_count = 0;
	if (evs_position_mine() == 0)
		return;
	pg_atomic_write_u64(&my_appender->f.low, 0);
	evs_wakeup_ring_worker(my_appender->f.database);
}

/* A prepared transaction has no backend that could hold its low: hand it over. */
static void
position_before_prepare(void)
{
	if (evs_position_mine() != 0)
		evs_prepared_add(evs_position_mine(), my_appender->f.since);
}

/* Prepared: the low counts where it was handed to, and the safe position does not move. */
static void
position_prepared(void)
{
	taken_last = taken_count = 0;
	if (evs_position_mine() != 0)
		pg_atomic_write_u64(&my_appender->f.low, 0);
}

const EvsXactSubscriber evs_position_xact = {
	.before_prepare = position_before_prepare,
	.prepared = position_prepared,
	.finished = position_finished,
};

PG_FUNCTION_INFO_V1(evs_safe_position);
PG_FUNCTION_INFO_V1(evs_appenders);

/* evstore._safe_position(): for status views only, which a standby shows as well. */
Datum
evs_safe_position(PG_FUNCTION_ARGS)
{
	if (RecoveryInProgress())
		PG_RETURN_NULL();
	PG_RETURN_INT64(evs_position_safe());
}

/* Add this database's prepared transactions to the rows of evstore._appenders(). */
static void
put_prepared(ReturnSetInfo *result)
{
	int			count;
	EvsPrepared *prepared = evs_prepared_list(&count);

	for (int i = 0; i < count; i++)
	{
		Datum		values[4];
		bool		nulls[4] = {true, false, prepared[i].since == 0, false};

		values[1] = Int64GetDatum(prepared[i].low);
		values[2] = TimestampTzGetDatum(prepared[i].since);
		values[3] = TransactionIdGetDatum(prepared[i].xid);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	pfree(prepared);
}

/*
 * evstore._appenders(): who holds the safe position back in this database. Of
 * the prepared transactions some may be of the past, or not prepared yet.
 */
Datum
evs_appenders(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EvsDatabaseSlot database;

	evs_shmem_require();
	database = evs_database_slot();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < MaxBackends; i++)
	{
		Appender   *appender = &shared_appenders[i];
		uint64		low = pg_atomic_read_u64(&appender->f.low);
		Datum		values[4];
		bool		nulls[4] = {false, false, false, true};

		pg_read_barrier();
		if (low == 0 || appender->f.database != database)
			continue;
		values[0] = Int32GetDatum(appender->f.pid);
		values[1] = Int64GetDatum(low);
		values[2] = TimestampTzGetDatum(appender->f.since);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	put_prepared(result);
	return (Datum) 0;
}
