/*
 * inline.c
 *		Inline projections: applied by whoever appends, in the same transaction.
 *
 * An event table that inline projections follow carries one trigger of ours,
 * evstore_inline: AFTER INSERT FOR EACH STATEMENT, with a transition table. So
 * it is fired once for each call of append() (store/fire.c), INSERT, COPY or
 * query with an INSERT in WITH, at its end, with the events that it has added
 * and no others. Their positions, adjacent ones put together, are the ranges
 * that are applied: the positions of anybody else lie between two ranges, never
 * within one, so it does not matter what the snapshot sees of them.
 *
 * The trigger does not say which projections it is for: evstore._projection
 * does, and the trigger is the way to be called. Who changes that table for an
 * event table keeps its writers out meanwhile (mode.c), so whoever is called
 * reads a definition that holds until its transaction ends.
 *
 * A projection may follow several event tables, and each of them has the trigger.
 * An event's position is that of no other event in any table, so the ranges that
 * a statement has added to one table are exactly its events in the union as well.
 * What is restored into an empty table may have the positions of others. It is
 * refused: they would be applied once more.
 *
 * What is applied may append: a handler, a statement, a trigger on a read
 * table. The trigger is fired again then, within its own call, and only queues
 * what is new. The outermost call applies the queue from its front, each batch
 * to every projection, in the order of their ids. So every projection gets its
 * events in the order in which the statements ended that added them, and
 * nothing recurs, however long the chain is.
 *
 * All state is this session's, and lasts for one statement. What a
 * subtransaction has queued goes when it is rolled back, as its events do.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/shmem.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/generation.h"
#include "project/inline.h"
#include "store/restore.h"
#include "store/table.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

/* Events that one statement has added to one table. */
typedef struct Added
{
	Oid			event_table;
	EvsBounds  *ranges;			/* in order, with gaps between */
	int			count;
	SubTransactionId subxact;
} Added;

static List *queue = NIL;		/* of Added, in the transaction's memory, to be applied */

/* The subtransaction in which the outermost application began; invalid if there is none. */
static SubTransactionId applying_since = InvalidSubTransactionId;

/* The projections that follow one table. */
typedef struct Followed
{
	Oid			event_table;
	List	   *followers;		/* of int: ids */
} Followed;

/* What is known of tables that were appended to, as of a generation of the definitions. */
static MemoryContext known_context = NULL;
static List *known = NIL;		/* of Followed */
static uint32 known_generation;

/* A subtransaction was rolled back, and with it what it has added. */
static void
inline_subxact_aborted(SubTransactionId subxact)
{
	ListCell   *cell;

	foreach(cell, queue)
		if (((Added *) lfirst(cell))->subxact >= subxact)
			queue = foreach_delete_current(queue, cell);
	if (applying_since >= subxact)
		applying_since = InvalidSubTransactionId;
}

/* The transaction is over, and its memory gone. */
static void
inline_finished(bool committed)
{
	queue = NIL;
	applying_since = InvalidSubTransactionId;
}

const EvsXactSubscriber evs_inline_xact = {
	.finished = inline_finished,
	.subxact_aborted = inline_subxact_aborted,
};

/* Order ranges. */
static int
compare_ranges(const void *a, const void *b)
{
	EvsPosition left = ((const EvsBounds *) a)->from;
	EvsPosition right = ((const EvsBounds *) b)->from;

	return left < right ? -1 : left > right;
}

/* Put ranges in order, and adjacent ones together: restored events come in any. */
static void
sort_ranges(Added *added)
{
	int			kept = 0;

	qsort(added->ranges, added->count, sizeof(EvsBounds), compare_ranges);
	for (int i = 1; i < added->count; i++)
	{
		if (added->ranges[i].from == added->ranges[kept].to)
			added->ranges[kept].to = added->ranges[i].to;
		else
			added->ranges[++kept] = added->ranges[i];
	}
	added->count = kept + 1;
}

/* The ranges of positions in a transition table. */
static void
read_ranges(Added *added, Relation rel, Tuplestorestate *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	int			room = 1;
	bool		sorted = true;

	added->ranges = palloc_array(EvsBounds, room);
	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		bool		isnull;
		EvsPosition position = DatumGetInt64(slot_getattr(slot, EVS_COLUMN_POSITION, &isnull));
		EvsBounds  *last = added->count > 0 ? &added->ranges[added->count - 1] : NULL;

		if (last && last->to == position - 1)
		{
			last->to = position;
			continue;
		}
		if (last && position <= last->to)
			sorted = false;
		if (added->count == room)
			added->ranges = repalloc_huge(added->ranges, (room *= 2) * sizeof(EvsBounds));
		added->ranges[added->count++] = (EvsBounds) {position - 1, position};
	}
	ExecDropSingleTupleTableSlot(slot);
	if (!sorted)
		sort_ranges(added);
}

/* Remember which projections follow a table. */
static List *
remember(Oid event_table, const List *followers)
{
	MemoryContext caller = MemoryContextSwitchTo(known_context);
	Followed   *followed = palloc_object(Followed);

	followed->event_table = event_table;
	followed->followers = list_copy(followers);
	known = lappend(known, followed);
	MemoryContextSwitchTo(caller);
	return followed->followers;
}

/* The inline projections that follow a table. Call inside SPI. */
static List *
find_followers(Oid event_table)
{
	uint32		generation = evs_generation(evs_database_slot());
	ListCell   *cell;

	/* What the transaction has changed itself, no generation tells. */
	if (evs_projection_changed_here())
		return evs_projection_list_inline(event_table);
	if (known_context == NULL)
		known_context = AllocSetContextCreate(TopMemoryContext, "evstore inline projections", ALLOCSET_SMALL_SIZES);
	if (known_generation != generation)
	{
		known = NIL;
		MemoryContextReset(known_context);
		known_generation = generation;
	}
	foreach(cell, known)
	{
		const Followed *followed = lfirst(cell);

		if (followed->event_table == event_table)
			return followed->followers;
	}
	return remember(event_table, evs_projection_list_inline(event_table));
}

/* Refuse events of one table at positions where another one that the projection follows may have events, too. */
static void
check_apart(const EvsProjection *projection, Oid event_table)
{
	if (list_length(projection->event_tables) > 1 && evs_restore_reused(event_table))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot apply projection \"%s\" to events that are restored at positions handed out before",
						projection->name),
				 errdetail("It follows several event tables, and another one may have events at the same positions."),
				 errhint("Have workers apply it with evstore.set_projection(name, mode => 'async'), restore the events, and build it anew with evstore.rebuild_projection().")));
}

/* Apply what one statement has added to each projection that follows its table. */
static void
apply_added(const Added *added)
{
	List	   *ids;
	ListCell   *cell;

	/* What was added by the statement that is about to end. */
	CommandCounterIncrement();
	SPI_connect();
	ids = list_copy(find_followers(added->event_table));
	foreach(cell, ids)
	{
		EvsApplied *applied = evs_apply_find(lfirst_int(cell));

		/* It may have been dropped by what was applied before it. */
		if (applied == NULL || !applied->definition->is_inline)
			continue;
		evs_apply_check(applied->definition);
		check_apart(applied->definition, added->event_table);
		(void) evs_apply_ranges(applied, added->ranges, added->count);
	}
	SPI_finish();
}

/* Apply the queue, and what comes into it meanwhile. */
static void
apply_queue(void)
{
	applying_since = GetCurrentSubTransactionId();
	while (queue != NIL)
	{
		Added	   *added = linitial(queue);

		CHECK_FOR_INTERRUPTS();
		queue = list_delete_first(queue);
		apply_added(added);
		pfree(added->ranges);
		pfree(added);
	}
	applying_since = InvalidSubTransactionId;
}

/*
 * Apply to one projection the events that were there before it became inline,
 * and to all what is appended by that. Call inside SPI.
 */
void
evs_inline_apply_past(int projection, EvsPosition from, EvsPosition to)
{
	EvsApplied *applied = evs_apply_find(projection);

	if (applied == NULL)
		elog(ERROR, "projection %d is gone", projection);
	evs_apply_check(applied->definition);
	Assert(applying_since == InvalidSubTransactionId);
	applying_since = GetCurrentSubTransactionId();
	(void) evs_apply_events(applied, (EvsBounds) {from, to});
	apply_queue();
}

/* Refuse to be called by anything but the trigger that mode.c makes. */
static void
check_call(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		trigger->tg_newtable == NULL || strcmp(trigger->tg_trigger->tgname, EVS_TRIGGER_INLINE) != 0 ||
		!evs_relation_is_event_table(trigger->tg_relation))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evstore._inline() must be fired by trigger \"%s\" of an event table", EVS_TRIGGER_INLINE)));
}

PG_FUNCTION_INFO_V1(evs_inline_trigger);

/* evstore._inline(): AFTER INSERT FOR EACH STATEMENT on event tables that inline projections follow. */
Datum
evs_inline_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	MemoryContext caller;
	Added	   *added;

	check_call(fcinfo);
	evs_shmem_require();
	/* The read tables of projections that a restore has brought are restored as well. */
	if (evs_projection_restored_here())
		return PointerGetDatum(NULL);

	caller = MemoryContextSwitchTo(TopTransactionContext);
	added = palloc0_object(Added);
	added->event_table = RelationGetRelid(trigger->tg_relation);
	added->subxact = GetCurrentSubTransactionId();
	read_ranges(added, trigger->tg_relation, trigger->tg_newtable);
	if (added->count > 0)
		queue = lappend(queue, added);
	MemoryContextSwitchTo(caller);

	if (applying_since == InvalidSubTransactionId)
		apply_queue();
	return PointerGetDatum(NULL);
}
