/*
 * fold.c
 *		Folding the events of a stream into its state.
 *
 * The events are read by one statement over the index on (stream, version), run
 * with the caller's rights; its rows come here one by one, as the executor finds
 * them, and each is given to the function at once. The function runs with the
 * rights of the aggregate's owner, whoever loads: it is the owner's code.
 *
 * Where policies bind the caller, their functions run during the statement, and
 * must meet neither the owner's settings nor the owner's rights. There, and
 * where an aggregate of PostgreSQL's kind does the folding, the rows are stored
 * first, and folded when the statement is over.
 *
 * Memory: two contexts take turns. A state is made in one, from the state in
 * the other, which is then emptied; so it is never copied, and what the function
 * leaves behind goes with it.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/call.h"
#include "base/called.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "domain/definition.h"
#include "domain/fold.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/read.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/* The name by which an aggregate's statement finds the events. */
#define STORED_EVENTS "_events"

/* A fold that is under way. As a receiver, it takes the rows of a statement. */
typedef struct Fold
{
	DestReceiver receiver;		/* first, so that one is the other */
	const EvsAggregate *aggregate;
	EvsState	state;
	TimestampTz until;			/* the first event after it ends the fold */
	EvsCall    *call;
	TupleDesc	event;			/* evstore.event */
	MemoryContext contexts[2];	/* the state is in the first */
	Tuplestorestate *store;		/* rows go there, to be folded later; or NULL */
} Fold;

/* The state before any event. */
EvsState
evs_fold_initial_state(const EvsAggregate *aggregate)
{
	EvsState	state = {.isnull = aggregate->initial_state == NULL};

	if (!state.isnull)
		state.value = datumCopy(aggregate->initial_value, aggregate->state_by_value, aggregate->state_length);
	return state;
}

/* Make an event of a row. The columns are the table's first ones, mostly as they lie in the heap. */
static Datum
make_event(const Fold *fold, TupleTableSlot *slot)
{
	if (TTS_IS_BUFFERTUPLE(slot) && slot->tts_tupleDescriptor->natts == fold->event->natts)
	{
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);

		if (HeapTupleHeaderGetNatts(tuple->t_data) == fold->event->natts)
			return heap_copy_tuple_as_datum(tuple, fold->event);
	}
	slot_getallattrs(slot);
	return HeapTupleGetDatum(heap_form_tuple(fold->event, slot->tts_values, slot->tts_isnull));
}

/* Apply one event. */
static void
apply_event(Fold *fold, TupleTableSlot *slot)
{
	MemoryContext caller = MemoryContextSwitchTo(fold->contexts[1]);
	bool		isnull;

	fold->state.version = DatumGetInt64(slot_getattr(slot, EVS_COLUMN_VERSION, &isnull));
	fold->state.position = DatumGetInt64(slot_getattr(slot, EVS_COLUMN_POSITION, &isnull));
	/* As an aggregate of PostgreSQL's does: a strict function leaves NULL alone. */
	if (!(evs_call_is_strict(fold->call) && fold->state.isnull))
	{
		Datum		before = fold->state.value;
		NullableDatum arguments[] = {{before, fold->state.isnull}, {make_event(fold, slot), false}};

		fold->state.value = evs_call(fold->call, arguments, &fold->state.isnull);
		/* A function may return the very state it was given. */
		if (!fold->aggregate->state_by_value && !fold->state.isnull && fold->state.value == before)
			fold->state.value = datumCopy(fold->state.value, false, fold->aggregate->state_length);
		MemoryContextReset(fold->contexts[0]);
		fold->contexts[1] = fold->contexts[0];
		fold->contexts[0] = CurrentMemoryContext;
	}
	MemoryContextSwitchTo(caller);
}

/* Does an event stand after the time up to which to fold? */
static bool
is_too_late(const Fold *fold, TupleTableSlot *slot)
{
	bool		isnull;

	return fold->until != DT_NOEND &&
		DatumGetTimestampTz(slot_getattr(slot, EVS_COLUMN_RECORDED_AT, &isnull)) > fold->until;
}

/* A row of the statement, to be folded at once. False ends the statement. */
static bool
receive_event(TupleTableSlot *slot, DestReceiver *self)
{
	Fold	   *fold = (Fold *) self;
	Oid			user;
	int			security;

	if (is_too_late(fold, slot))
		return false;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(fold->aggregate->definition.owner,
						   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	apply_event(fold, slot);
	SetUserIdAndSecContext(user, security);
	return true;
}

/* A row of the statement, to be folded later. */
static bool
store_event(TupleTableSlot *slot, DestReceiver *self)
{
	Fold	   *fold = (Fold *) self;

	if (is_too_late(fold, slot))
		return false;
	tuplestore_puttupleslot(fold->store, slot);
	return true;
}

/* Receivers begin and end with their statement: nothing to do. */
static void
start_rows(DestReceiver *self, int operation, TupleDesc desc)
{
}

/* The same. */
static void
end_rows(DestReceiver *self)
{
}

/* Read the events with a fold as their receiver, beginning after its state. */
static void
read_events(Fold *fold, EvsTable *table, const text *stream, EvsVersion to,
			bool (*receive) (TupleTableSlot *slot, DestReceiver *self))
{
	fold->receiver.receiveSlot = receive;
	fold->receiver.rStartup = start_rows;
	fold->receiver.rShutdown = end_rows;
	fold->receiver.rDestroy = end_rows;
	fold->receiver.mydest = DestTuplestore;	/* as far as SPI cares */
	(void) evs_read_stream_into(&fold->receiver, table, stream, fold->state.version, to);
}

/* Fold stored rows by the function, as the aggregate's owner. */
static void
fold_stored(Fold *fold)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(fold->event, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(fold->store, true, false, slot))
		apply_event(fold, slot);
	ExecDropSingleTupleTableSlot(slot);
}

/* Fold stored rows by an aggregate of PostgreSQL's kind, as the aggregate's owner. */
static void
fold_stored_by_aggregate(Fold *fold)
{
	Oid			function = fold->aggregate->apply;
	EphemeralNamedRelationData events = {
		.md = {.name = STORED_EVENTS, .tupdesc = fold->event, .enrtype = ENR_NAMED_TUPLESTORE},
		.reldata = fold->store,
	};
	MemoryContext caller = CurrentMemoryContext;
	bool		isnull;
	Datum		version;
	Datum		state;

	SPI_connect();
	if (SPI_register_relation(&events) != SPI_OK_REL_REGISTER ||
		SPI_execute(psprintf("SELECT pg_catalog.max(e.version), pg_catalog.max(e.\"position\"),"
							 " %s(ROW(e.*)::evstore.event) FROM " STORED_EVENTS " e",
							 quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
														get_func_name(function))),
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not fold events by an aggregate");
	version = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		fold->state.version = DatumGetInt64(version);
		fold->state.position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	state = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &fold->state.isnull);
	MemoryContextSwitchTo(caller);
	if (!fold->state.isnull)
		fold->state.value = datumCopy(state, fold->aggregate->state_by_value, fold->aggregate->state_length);
	SPI_finish();
}

/* Prepare the calls of the function. */
static void
prepare_calls(Fold *fold)
{
	fold->contexts[0] = AllocSetContextCreate(CurrentMemoryContext, "evstore state", ALLOCSET_DEFAULT_SIZES);
	fold->contexts[1] = AllocSetContextCreate(CurrentMemoryContext, "evstore state", ALLOCSET_DEFAULT_SIZES);
	fold->call = evs_call_begin(fold->aggregate->apply);
}

/* Refuse to fold where the owner may not call what folds. */
static void
check_privilege(const EvsAggregate *aggregate)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(aggregate->definition.owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of aggregate \"%s\" does not exist", aggregate->definition.category),
				 errhint("Drop the aggregate with evstore.drop_aggregate(), and create it again.")));
	evs_called_check_may_call(aggregate->apply, aggregate->definition.owner);
}

/* The text of a fold, for messages of errors inside it. */
static void
fold_error_context(void *arg)
{
	const Fold *fold = arg;

	errcontext("aggregate \"%s\", event at version %lld",
			   fold->aggregate->definition.category, (long long) fold->state.version);
}

/* Read the events and fold them. */
static void
read_and_fold(Fold *fold, EvsTable *table, const text *stream, EvsVersion to)
{
	const EvsAggregate *aggregate = fold->aggregate;
	EvsOwnerFrame frame;

	if (!aggregate->is_sql_aggregate && check_enable_rls(table->relid, InvalidOid, true) != RLS_ENABLED)
	{
		/* The statement is ours and the caller runs it; the settings are for the function. */
		evs_owner_begin(&frame, GetUserId(), aggregate->definition.settings);
		read_events(fold, table, stream, to, receive_event);
		evs_owner_end(&frame);
		return;
	}
	fold->store = tuplestore_begin_heap(false, false, work_mem);
	read_events(fold, table, stream, to, store_event);
	evs_owner_begin(&frame, aggregate->definition.owner, aggregate->definition.settings);
	if (aggregate->is_sql_aggregate)
		fold_stored_by_aggregate(fold);
	else
		fold_stored(fold);
	evs_owner_end(&frame);
	tuplestore_end(fold->store);
}

/*
 * Fold the events that stand after a state, up to a limit, into it. The caller
 * needs SELECT on the event table. The new state is the current memory
 * context's.
 */
void
evs_fold(const EvsAggregate *aggregate, EvsTable *table, const text *stream,
		 EvsFoldLimit limit, EvsState *state)
{
	Fold		fold = {.aggregate = aggregate, .state = *state, .until = limit.time};
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = fold_error_context,
		.arg = &fold,
	};
	EvsState	end;
	bool		may_leave_out;

	check_privilege(aggregate);
	/* The state of an aggregate of PostgreSQL's kind cannot be gone on with. */
	if (aggregate->is_sql_aggregate)
		fold.state = (EvsState) {.isnull = true};
	fold.event = lookup_rowtype_tupdesc_copy(evs_catalog()->event_type, -1);
	if (!aggregate->is_sql_aggregate)
		prepare_calls(&fold);

	/* Asked before the events are read: what comes meanwhile is not folded, or known by itself. */
	may_leave_out = evs_table_events(table) != table->name && limit.time == DT_NOEND &&
		evs_read_stream_end(table, stream, fold.state.version, limit.version, &end.version, &end.position);

	error_context_stack = &context;
	read_and_fold(&fold, table, stream, limit.version);
	error_context_stack = context.previous;
	/* The state stands after the last event, whether upcasters have left that out or not. */
	if (may_leave_out && end.version > fold.state.version)
	{
		fold.state.version = end.version;
		fold.state.position = end.position;
	}

	*state = fold.state;
	if (aggregate->is_sql_aggregate)
		return;
	if (!state->isnull)
		state->value = datumCopy(state->value, aggregate->state_by_value, aggregate->state_length);
	evs_call_end(fold.call);
	MemoryContextDelete(fold.contexts[0]);
	MemoryContextDelete(fold.contexts[1]);
}
