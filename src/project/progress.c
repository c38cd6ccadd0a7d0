/*
 * progress.c
 *		How far each projection has come, in shared memory.
 *
 * A copy of the checkpoints of evstore._checkpoint, there so that an idle
 * worker can see without a query whether there is work, and so that a waiting
 * session can be woken without one. The table is the truth; this is set from
 * it by the manager of each database, and moved by a worker after it has
 * committed a batch.
 *
 * Every field is guarded by evs_lock(). A slot is claimed by one worker at a
 * time. The manager frees the slots of projections that were dropped; a worker
 * that held such a claim finds that the slot is no longer its own, and leaves
 * it alone.
 */
#include "evstore.h"

#include <math.h>

#include "access/htup_details.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/settings.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "project/progress.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* The speed shown is an average that forgets with this time constant. */
#define RATE_SECONDS 5.0

/* How long a projection waits for its rebuild to be put in place, so that batches do not keep it off. */
#define RESERVED_MS 2000

/* Of so many claims of a worker, one does not ask for priorities. */
#define FAIR_CLAIM 4

typedef struct ProgressSlot
{
	Oid			database;		/* InvalidOid if the slot is free */
	Oid			store;			/* tells one life of the extension in it from the next */
	int			projection;
	Oid			event_table;
	int			priority;		/* higher comes first */
	int			timeout;		/* of one batch, in milliseconds; 0 for none */
	int			rebuilds;		/* the projection that this one builds anew, and is due until it has, or 0 */
	int			whole;			/* as in EvsProjectionRow, and so are the next two */
	int			shards;
	int			division;		/* "reach" is of this one */
	TimestampTz reserved_until; /* a rebuild waits for its claim: nobody else takes it before */
	EvsReach	reach;			/* applied and committed up to here */
	EvsPosition suspect;		/* as in EvsClaim, and so is the next */
	int			span;
	int			claimed_by;		/* pid of the worker that applies a batch now, or 0 */
	TimestampTz retry_at;		/* not due before, after a failure; else 0 */
	uint64		turn;			/* when it was last claimed: who waited longest comes first */
	double		rate;			/* events a second, as of rate_at */
	TimestampTz rate_at;
	TimestampTz claimed_at;		/* valid while claimed */
	EvsProgressStats stats;		/* since the slot was taken */
	ConditionVariable moved;	/* broadcast when position changes or the slot is freed */
} ProgressSlot;

typedef struct Progress
{
	int			used;			/* no slot from here on was ever used */
	uint64		turns;			/* claims so far */
	ConditionVariable changed;	/* broadcast when projections come or go */
	ProgressSlot slots[FLEXIBLE_ARRAY_MEMBER];
} Progress;

static Progress *progress = NULL;

/* Size of this area. */
static Size
progress_size(void)
{
	return add_size(offsetof(Progress, slots), mul_size(evs_max_projections, sizeof(ProgressSlot)));
}

/* Remember where the area is; every slot is free at first. */
static void
progress_attach(void *area, bool fresh)
{
	progress = area;
	if (!fresh)
		return;
	ConditionVariableInit(&progress->changed);
	for (int i = 0; i < evs_max_projections; i++)
		ConditionVariableInit(&progress->slots[i].moved);
}

const EvsShmemPart evs_progress_shmem = {"evstore progress", progress_size, progress_attach};

/* The slot of a projection, or NULL; the caller holds evs_lock(). */
static ProgressSlot *
find_slot(Oid database, Oid store, int projection)
{
	for (int i = 0; i < progress->used; i++)
	{
		ProgressSlot *slot = &progress->slots[i];

		if (slot->database == database && slot->store == store && slot->projection == projection)
			return slot;
	}
	return NULL;
}

/* A free slot, or NULL; the caller holds evs_lock(). */
static ProgressSlot *
free_slot(void)
{
	for (int i = 0; i < evs_max_projections; i++)
		if (progress->slots[i].database == InvalidOid)
		{
			progress->used = Max(progress->used, i + 1);
			return &progress->slots[i];
		}
	return NULL;
}

/* Free the slots of a database's projections that are not in the list. */
static void
free_absent(Oid database, Oid store, int count, const EvsProjectionRow *rows)
{
	for (int i = 0; i < progress->used; i++)
	{
		ProgressSlot *slot = &progress->slots[i];
		bool		present = false;

		if (slot->database != database)
			continue;
		for (int j = 0; j < count && !present; j++)
			present = store == slot->store && rows[j].projection == slot->projection;
		if (!present)
		{
			slot->database = InvalidOid;
			ConditionVariableBroadcast(&slot->moved);
		}
	}
}

/* Bring what a projection's owner may change up to date. */
static void
steer(ProgressSlot *slot, const EvsProjectionRow *row)
{
	slot->event_table = row->event_table;
	slot->priority = row->priority;
	slot->timeout = row->timeout;
	/* Somebody has asked to try again now. If it has failed since, once more does no harm. */
	if (row->retry_at == 0)
		slot->retry_at = 0;
}

/* A projection that is new here, or whose shards have other events than before, is as the table says. */
static void
begin(ProgressSlot *slot, const EvsProjectionRow *row)
{
	slot->whole = row->whole;
	slot->shards = row->shards;
	slot->division = row->division;
	slot->reach = row->reach;
	slot->retry_at = row->retry_at;
	slot->suspect = row->suspect;
	slot->span = 0;
	ConditionVariableBroadcast(&slot->moved);
}

/*
 * Make the slots of a database agree with its table of projections. "store" is
 * the oid of the position sequence: ids begin anew with each of them. Known ones
 * keep their slot, and how far they are; the tables' word for that matters only
 * for new ones, after a restart, and where shards have other events than before.
 * False if there was no room for all of them.
 */
bool
evs_progress_sync(Oid database, Oid store, int count, const EvsProjectionRow *rows)
{
	bool		all = true;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	free_absent(database, store, count, rows);
	for (int i = 0; i < count; i++)
	{
		ProgressSlot *slot = find_slot(database, store, rows[i].projection);

		if (slot)
		{
			if (slot->division != rows[i].division)
				begin(slot, &rows[i]);
			steer(slot, &rows[i]);
			continue;
		}
		slot = free_slot();
		if (slot == NULL)
		{
			all = false;
			break;
		}
		slot->database = database;
		slot->store = store;
		slot->projection = rows[i].projection;
		slot->rebuilds = rows[i].rebuilds;
		slot->reserved_until = 0;
		slot->claimed_by = 0;
		slot->turn = 0;
		begin(slot, &rows[i]);
		steer(slot, &rows[i]);
		slot->rate = 0;
		slot->rate_at = GetCurrentTimestamp();
		memset(&slot->stats, 0, sizeof(slot->stats));
	}
	ConditionVariableBroadcast(&progress->changed);
	LWLockRelease(evs_lock());
	return all;
}

/* Is this one to be claimed before that one? */
static bool
goes_before(const ProgressSlot *slot, const ProgressSlot *other, bool by_priority)
{
	if (by_priority && slot->priority != other->priority)
		return slot->priority > other->priority;
	return slot->turn < other->turn;
}

/*
 * Claim a projection of a database that is due: of those with the highest
 * priority the one that waited longest, and every so often, so that none
 * starves, the one that waited longest of all. If none is due, *next_retry says
 * when a failed one will be (0: none will).
 */
bool
evs_progress_claim(Oid database, EvsPosition safe, TimestampTz now,
				   EvsClaim *claim, TimestampTz *next_retry)
{
	ProgressSlot *best = NULL;
	int			due = 0;
	static int	claims = 0;
	bool		by_priority = (claims + 1) % FAIR_CLAIM != 0;

	*next_retry = 0;
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < progress->used; i++)
	{
		ProgressSlot *slot = &progress->slots[i];
		TimestampTz not_before;

		if (slot->database != database || slot->claimed_by != 0 ||
			(slot->reach.position >= safe && slot->rebuilds == 0))
			continue;
		not_before = Max(slot->retry_at, slot->reserved_until);
		if (not_before > now)
		{
			if (*next_retry == 0 || not_before < *next_retry)
				*next_retry = not_before;
			continue;
		}
		due++;
		if (best == NULL || goes_before(slot, best, by_priority))
			best = slot;
	}
	if (best)
	{
		claims++;
		best->claimed_by = MyProcPid;
		best->claimed_at = now;
		best->turn = ++progress->turns;
		claim->slot = best - progress->slots;
		claim->projection = best->projection;
		claim->reach = best->reach;
		claim->suspect = best->suspect;
		claim->span = best->span;
		claim->timeout = best->timeout;
		claim->rebuilds = best->rebuilds;
		claim->division = best->division;
		claim->more = due > 1;
	}
	LWLockRelease(evs_lock());
	return best != NULL;
}

/* The slot of a claim, if it is still ours; the caller holds evs_lock(). */
static ProgressSlot *
claimed_slot(const EvsClaim *claim)
{
	ProgressSlot *slot = &progress->slots[claim->slot];

	return slot->database == MyDatabaseId && slot->projection == claim->projection &&
		slot->claimed_by == MyProcPid ? slot : NULL;
}

/* Take a claim back, with the time that it took; the caller holds evs_lock(). */
static void
take_back(ProgressSlot *slot, TimestampTz now)
{
	slot->stats.busy += Max(now - slot->claimed_at, 0);
	slot->claimed_by = 0;
}

/* Can all slots of a projection be claimed? If not, nobody else takes them before us; the caller holds evs_lock(). */
static bool
reserve(Oid store, int whole)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RESERVED_MS);
	bool		idle = true;

	for (int i = 0; i < progress->used; i++)
	{
		ProgressSlot *slot = &progress->slots[i];

		if (slot->database != MyDatabaseId || slot->store != store || slot->whole != whole)
			continue;
		slot->reserved_until = until;
		idle = idle && slot->claimed_by == 0;
	}
	return idle;
}

/*
 * Claim the projection that a claimed one builds anew, due or not: all shards
 * of it that have slots, or none if somebody else holds one, who is its last
 * holder before us. "claims" has room for EVS_MAX_SHARDS. Returns how many they
 * are.
 */
int
evs_progress_claim_rebuilt(const EvsClaim *rebuild, EvsClaim *claims)
{
	Oid			store;
	int			count = 0;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	store = progress->slots[rebuild->slot].store;
	if (reserve(store, rebuild->rebuilds))
		for (int i = 0; i < progress->used && count < EVS_MAX_SHARDS; i++)
		{
			ProgressSlot *slot = &progress->slots[i];

			if (slot->database != MyDatabaseId || slot->store != store || slot->whole != rebuild->rebuilds)
				continue;
			slot->claimed_by = MyProcPid;
			slot->claimed_at = GetCurrentTimestamp();
			/* It may follow others when this is over; which, the manager will say. */
			slot->event_table = InvalidOid;
			claims[count++] = (EvsClaim) {
				.slot = i, .projection = slot->projection, .reach = slot->reach, .division = slot->division,
			};
		}
	LWLockRelease(evs_lock());
	return count;
}

/* Give a claim back, nothing having been done; it is not due before a time. */
void
evs_progress_release(const EvsClaim *claim, TimestampTz not_before)
{
	ProgressSlot *slot;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = claimed_slot(claim);
	if (slot)
	{
		take_back(slot, GetCurrentTimestamp());
		slot->reserved_until = not_before;
	}
	LWLockRelease(evs_lock());
}

/* A rate, faded to the present. */
static double
faded_rate(const ProgressSlot *slot, TimestampTz now)
{
	double		seconds = Max(now - slot->rate_at, 0) / (double) USECS_PER_SEC;

	return slot->rate * exp(-seconds / RATE_SECONDS);
}

/* Grow slowly what had to be cut for its size, lest every other batch fail again. */
static int
grown(int span)
{
	return span == 0 || span > PG_INT32_MAX / 2 ? 0 : span + span / 4 + 1;
}

/* A claimed projection has come so far, committed: tell those who wait, and give the claim back. */
void
evs_progress_applied(const EvsClaim *claim, EvsReach reach)
{
	TimestampTz now = GetCurrentTimestamp();
	ProgressSlot *slot;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = claimed_slot(claim);
	if (slot)
		slot->reserved_until = 0;
	if (slot && slot->division != claim->division)
		take_back(slot, now);
	else if (slot)
	{
		slot->rate = faded_rate(slot, now) + Max(reach.position - claim->reach.position, 0) / RATE_SECONDS;
		slot->rate_at = now;
		slot->stats.batches += reach.checkpoint != claim->reach.checkpoint;
		slot->stats.positions += Max(reach.position - claim->reach.position, 0);
		slot->reach = reach;
		/* Where an event was passed, it was the one. */
		slot->suspect = slot->suspect > reach.position && !reach.failing ? slot->suspect : 0;
		slot->span = grown(slot->span);
		slot->retry_at = 0;
		take_back(slot, now);
		ConditionVariableBroadcast(&slot->moved);
	}
	LWLockRelease(evs_lock());
}

/*
 * The event table of a claimed projection has no event from where that one is
 * up to a position: for others that follow the same table and stand in between,
 * there is nothing to do, either. So an append costs one look a table, however
 * many projections follow the tables that it does not concern.
 */
void
evs_progress_passed(const EvsClaim *claim, EvsPosition to)
{
	ProgressSlot *claimed;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	claimed = claimed_slot(claim);
	/*
	 * A projection of several event tables follows what no other need follow; and
	 * one that is divided anew may follow another table than the batch looked at.
	 */
	if (claimed && (!OidIsValid(claimed->event_table) || claimed->division != claim->division))
		claimed = NULL;
	for (int i = 0; claimed && i < progress->used; i++)
	{
		ProgressSlot *slot = &progress->slots[i];

		if (slot->database != claimed->database || slot->event_table != claimed->event_table ||
			slot->claimed_by != 0 || slot->reach.failing ||
			slot->reach.position < claim->reach.position || slot->reach.position >= to)
			continue;
		slot->stats.positions += to - slot->reach.position;
		slot->reach.position = to;
		ConditionVariableBroadcast(&slot->moved);
	}
	LWLockRelease(evs_lock());
}

/* A claimed batch failed, perhaps by the fault of one event: not again before "retry_at". */
void
evs_progress_failed(const EvsClaim *claim, TimestampTz retry_at, EvsPosition suspect)
{
	ProgressSlot *slot;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = claimed_slot(claim);
	if (slot)
	{
		slot->reach.failing = true;
		slot->stats.failures++;
		slot->retry_at = retry_at;
		if (suspect != 0)
			slot->suspect = suspect;
		take_back(slot, GetCurrentTimestamp());
	}
	LWLockRelease(evs_lock());
}

/*
 * A claimed batch is to be tried again in parts, in its turn with the others:
 * up to "suspect" some event is to blame, or (0) it may span so much at most.
 */
void
evs_progress_cut(const EvsClaim *claim, EvsPosition suspect, int span)
{
	ProgressSlot *slot;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	slot = claimed_slot(claim);
	if (slot)
	{
		if (suspect != 0)
			slot->suspect = suspect;
		else
			slot->span = span;
		slot->stats.failures++;
		take_back(slot, GetCurrentTimestamp());
	}
	LWLockRelease(evs_lock());
}

/* A worker ends: whatever it had claimed is anybody's again. */
void
evs_progress_release_all(void)
{
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < progress->used; i++)
		if (progress->slots[i].claimed_by == MyProcPid)
			progress->slots[i].claimed_by = 0;
	LWLockRelease(evs_lock());
}

/*
 * Has the projection applied the position, all its shards? If not, *moved is
 * what to sleep on, and *known says whether all have a slot.
 */
bool
evs_progress_has_applied(Oid store, int whole, EvsPosition position, ConditionVariable **moved, bool *known)
{
	ProgressSlot *behind = NULL;
	int			found = 0;
	int			shards = 1;

	LWLockAcquire(evs_lock(), LW_SHARED);
	for (int i = 0; i < progress->used; i++)
	{
		ProgressSlot *slot = &progress->slots[i];

		if (slot->database != MyDatabaseId || slot->store != store || slot->whole != whole)
			continue;
		found++;
		shards = slot->shards;
		if (behind == NULL && slot->reach.position < position)
			behind = slot;
	}
	*known = found >= shards;
	*moved = *known && behind ? &behind->moved : &progress->changed;
	LWLockRelease(evs_lock());
	return *known && behind == NULL;
}

/* What a slot tells; the caller holds evs_lock(). */
static EvsProgressReport
report(const ProgressSlot *slot)
{
	return (EvsProgressReport) {
		.projection = slot->projection,
		.rate = faded_rate(slot, GetCurrentTimestamp()),
		.position = slot->reach.position,
		.stats = slot->stats,
	};
}

/* What is known of a projection of this database; false if nothing is. */
bool
evs_progress_report(int projection, EvsProgressReport *found)
{
	Oid			store = evs_catalog()->position_sequence;
	ProgressSlot *slot;

	LWLockAcquire(evs_lock(), LW_SHARED);
	slot = find_slot(MyDatabaseId, store, projection);
	if (slot)
		*found = report(slot);
	LWLockRelease(evs_lock());
	return slot != NULL;
}

/* The same of all of them; "found" has room for evs_max_projections. Returns how many there are. */
int
evs_progress_report_all(EvsProgressReport *found)
{
	Oid			store = evs_catalog()->position_sequence;
	int			count = 0;

	LWLockAcquire(evs_lock(), LW_SHARED);
	for (int i = 0; i < progress->used; i++)
		if (progress->slots[i].database == MyDatabaseId && progress->slots[i].store == store)
			found[count++] = report(&progress->slots[i]);
	LWLockRelease(evs_lock());
	return count;
}
