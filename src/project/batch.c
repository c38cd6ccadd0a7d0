/*
 * batch.c
 *		Applying one batch of events to one projection.
 *
 * A batch is the events with from < position <= to. Its bounds are known to
 * this backend alone, through two STABLE functions that the batch view and the
 * statements of query projections compare with: so the planner sees their
 * values and uses the primary key, and the same text applies one event or a
 * million. Outside a batch they are NULL, and the batch view is empty.
 *
 * Exactly once (see README.md of this folder): the caller has read the safe
 * position before the transaction's snapshots are taken; the batch is applied
 * and the checkpoint moved, if it still stands where it is believed to, both in
 * one transaction, or neither.
 *
 * Small batches use a plan kept from one to the next, made for the primary key
 * and immune to statistics that were gathered when the table was small. Big
 * ones, when catching up, are planned each time for what they span; those of a
 * query go by way of catchup.c.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "base/owner.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "project/batch.h"
#include "project/catchup.h"
#include "project/checkpoint.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* A batch of up to so many positions is small. */
#define SMALL_BATCH 5000

/*
 * Planner settings, so that no plan hangs on statistics: a worker's own are for
 * small batches, and what a big one changes of them.
 */
static const char *const small_settings[][2] = {
	{"enable_seqscan", "off"}, {"enable_bitmapscan", "off"}, {"enable_sort", "off"}, {"jit", "off"},
};
static const char *const big_settings[][2] = {
	{"enable_seqscan", "on"}, {"enable_bitmapscan", "on"}, {"work_mem", "64MB"},
};

/* The checkpoint follows a projection that nothing changes after so many positions. */
#define MOVE_UNCHANGED 10000

/* The last batch found its checkpoint moved, paused or gone. */
static bool overtaken = false;

/* The batch that this backend is applying. */
static bool batch_active = false;
static EvsPosition batch_from;
static EvsPosition batch_to;

/* A projection that this worker has applied before. */
typedef struct KnownProjection
{
	int			id;				/* hash key */
	EvsProjection *definition;
	char	   *sql;			/* applies the current batch */
	char	   *select;			/* the same in two steps, for a query: its rows in a big batch, */
	char	   *upsert;			/* and what is done with them */
	char	   *read_table;		/* the name in "sql" and "upsert" of a query's read table, or NULL */
	SPIPlanPtr	small_plan;
	MemoryContext context;
} KnownProjection;

static HTAB *known_projections = NULL;

PG_FUNCTION_INFO_V1(evs_batch_from);
PG_FUNCTION_INFO_V1(evs_batch_to);
PG_FUNCTION_INFO_V1(evs_lag_seconds);

/* evstore._batch_from() */
Datum
evs_batch_from(PG_FUNCTION_ARGS)
{
	if (!batch_active)
		PG_RETURN_NULL();
	PG_RETURN_INT64(batch_from);
}

/* evstore._batch_to() */
Datum
evs_batch_to(PG_FUNCTION_ARGS)
{
	if (!batch_active)
		PG_RETURN_NULL();
	PG_RETURN_INT64(batch_to);
}

/* Forget a projection. */
static void
forget(KnownProjection *known)
{
	if (known->small_plan)
		SPI_freeplan(known->small_plan);
	MemoryContextDelete(known->context);
	hash_search(known_projections, &known->id, HASH_REMOVE, NULL);
}

/* Forget every definition and plan: the projections of this database changed. */
void
evs_batch_forget_plans(void)
{
	HASH_SEQ_STATUS scan;
	KnownProjection *known;

	if (known_projections == NULL)
		return;
	hash_seq_init(&scan, known_projections);
	while ((known = hash_seq_search(&scan)) != NULL)
		forget(known);
}

/* Refuse to apply where it could not be right. */
static void
check_applicable(const EvsProjection *projection)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(projection->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of projection \"%s\" does not exist", projection->name),
				 errdetail("Role %u was dropped.", projection->owner),
				 errhint("Drop the projection, and create it as another role.")));
	if (!evs_table_is_event_table(projection->event_table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the event table of projection \"%s\" does not exist", projection->name)));
	evs_projection_check_policies(projection->event_table, projection->owner);
	if (!OidIsValid(projection->read_table))
		return;
	if (get_rel_name(projection->read_table) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the read table of projection \"%s\" does not exist", projection->name),
				 errhint("Drop the projection, and create it again.")));
	if (get_rel_persistence(projection->read_table) != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the read table of projection \"%s\" is not logged", projection->name),
				 errdetail("A crash would empty it and leave its checkpoint where it is."),
				 errhint("Run ALTER TABLE ... SET LOGGED.")));
}

/*
 * The present name of a query's read table, NULL if there is none. The lock
 * keeps the name what it is until the batch is committed: tables may be
 * exchanged by renaming them.
 */
static char *
lock_read_table(const EvsProjection *projection)
{
	if (!projection->is_query)
		return NULL;
	LockRelationOid(projection->read_table, RowExclusiveLock);
	if (get_rel_name(projection->read_table) == NULL)
		return NULL;
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(projection->read_table)),
									  get_rel_name(projection->read_table));
}

/* Write the statements that apply a batch. */
static void
write_sql(KnownProjection *known)
{
	EvsProjection *projection = known->definition;

	if (!projection->is_query)
	{
		known->sql = pstrdup(projection->definition);
		return;
	}
	known->select = evs_projection_select(projection);
	known->sql = evs_projection_upsert(projection, known->read_table, known->select);
	known->upsert = evs_projection_upsert(projection, known->read_table, "SELECT * FROM " EVS_CATCHUP_ROWS);
}

/* What this worker knows of a projection; NULL if the projection is gone. */
static KnownProjection *
know(int id)
{
	KnownProjection *known;
	MemoryContext context;
	MemoryContext caller;
	KnownProjection new = {.id = id};

	if (known_projections == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(int),
			.entrysize = sizeof(KnownProjection),
			.hcxt = TopMemoryContext,
		};

		known_projections = hash_create("evstore projections", 64, &control,
										HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	known = hash_search(known_projections, &id, HASH_FIND, NULL);
	if (known)
	{
		char	   *name = lock_read_table(known->definition);

		if (known->read_table == NULL || (name && strcmp(name, known->read_table) == 0))
			return known;
		forget(known);
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "evstore projection", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	new.context = context;
	new.definition = evs_projection_load(id);
	if (new.definition)
	{
		new.read_table = lock_read_table(new.definition);
		check_applicable(new.definition);
		write_sql(&new);
	}
	MemoryContextSwitchTo(caller);
	if (new.definition == NULL)
		return NULL;

	MemoryContextSetParent(context, TopMemoryContext);
	known = hash_search(known_projections, &id, HASH_ENTER, NULL);
	*known = new;
	return known;
}

/* The position of the first event of a table after a position, or 0, and its time. */
static EvsPosition
next_event(Oid event_table, EvsPosition after, TimestampTz *recorded_at)
{
	Relation	rel;
	EvsTable   *table = evs_table_open(event_table, AccessShareLock, &rel);
	Relation	index = index_open(table->position_index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	IndexScanDesc scan = EVS_INDEX_BEGINSCAN(rel, index, snapshot, 1);
	ScanKeyData key;
	EvsPosition position = 0;

	ScanKeyInit(&key, 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	index_rescan(scan, &key, 1, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;

		position = DatumGetInt64(slot_getattr(slot, EVS_COLUMN_POSITION, &isnull));
		*recorded_at = DatumGetTimestampTz(slot_getattr(slot, EVS_COLUMN_RECORDED_AT, &isnull));
	}
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	evs_table_close(rel);
	return position;
}

/*
 * Where a batch that starts after "from" ends. Sets *empty if there is no event
 * of the projection's table in it: stretches of other tables' events, and long
 * gaps in the positions, are passed in one step.
 */
static EvsPosition
batch_end(const EvsProjection *projection, EvsPosition from, EvsPosition safe, bool *empty)
{
	TimestampTz recorded_at;
	EvsPosition next = next_event(projection->event_table, from, &recorded_at);
	EvsPosition end = safe - from <= projection->batch_size ? safe : from + projection->batch_size;

	*empty = next == 0 || next > end;
	if (!*empty)
		return end;
	return next == 0 || next > safe ? safe : next - 1;
}

/* The text of the batch, for messages of errors inside it. */
static void
batch_error_context(void *arg)
{
	errcontext("projection \"%s\", events after position %lld up to %lld",
			   ((EvsProjection *) arg)->name, (long long) batch_from, (long long) batch_to);
}

/* Stop if SPI could not do what it was told. */
static void
check_result(int result)
{
	if (result < 0)
		elog(ERROR, "could not apply a batch: %s", SPI_result_code_string(result));
}

/* Run the kept plan of a small batch. Returns how many rows the statement has written, if it says so. */
static uint64
run_small(KnownProjection *known)
{
	if (known->small_plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(known->sql, 0, NULL);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare the batch of projection \"%s\"", known->definition->name);
		known->small_plan = plan;
	}
	check_result(SPI_execute_plan(known->small_plan, NULL, NULL, false, 0));
	return SPI_processed;
}

/* Plan a big batch for what it spans, and run it. Returns the same. */
static uint64
run_big(KnownProjection *known)
{
	for (int i = 0; i < lengthof(big_settings); i++)
		(void) set_config_option(big_settings[i][0], big_settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (known->definition->is_query)
		return evs_catchup_apply(known->select, known->upsert, batch_from, batch_to);
	check_result(SPI_execute(known->sql, false, 0));
	return SPI_processed;
}

/* Run the statement of a projection over the batch, as its owner. Says whether it can have changed anything. */
static bool
run_batch_sql(KnownProjection *known)
{
	EvsProjection *projection = known->definition;
	EvsOwnerFrame frame;
	uint64		written;

	evs_owner_begin(&frame, projection->owner, projection->settings);
	written = batch_to - batch_from <= SMALL_BATCH ? run_small(known) : run_big(known);
	evs_owner_end(&frame);
	return !projection->is_query || written > 0;
}

/* Apply the batch between two positions. Says whether it can have changed anything. */
static bool
apply(KnownProjection *known, EvsPosition from, EvsPosition to)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = batch_error_context,
		.arg = known->definition,
	};

	volatile bool changed = false;

	batch_from = from;
	batch_to = to;
	batch_active = true;
	error_context_stack = &context;
	PG_TRY();
	{
		changed = run_batch_sql(known);
	}
	PG_FINALLY();
	{
		batch_active = false;
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	return changed;
}

/* This process will apply batches. */
void
evs_batch_prepare_process(void)
{
	for (int i = 0; i < lengthof(small_settings); i++)
		SetConfigOption(small_settings[i][0], small_settings[i][1], PGC_USERSET, PGC_S_SESSION);
}

/* Did the batch that just failed find its checkpoint elsewhere? Then nobody is to blame. */
bool
evs_batch_was_overtaken(void)
{
	return overtaken;
}

/*
 * Apply the next batch of a projection, from what is believed of it, and not
 * beyond the safe position that the caller has read in this transaction before
 * any snapshot was taken. "reach" is brought up to date, and *empty set if the
 * event table has no event in the batch; false if the projection is gone. Call
 * inside SPI.
 *
 * A batch that changed nothing moves only what is believed, in memory: the
 * events below it need not be applied again, but may be. So a projection that
 * an append does not concern costs no write. Now and then the checkpoint
 * follows, so that a restart does not begin far behind; and so it does after a
 * failure, as moving it is what says that the failure is over.
 */
bool
evs_batch_apply(int projection, EvsReach *reach, EvsPosition safe, bool *empty)
{
	KnownProjection *known;
	EvsPosition to;

	*empty = false;
	overtaken = false;
	known = know(projection);
	if (known == NULL)
		return false;
	/* The safe position can step back a little, below what made the caller come. */
	if (reach->position >= safe)
		return true;
	check_applicable(known->definition);

	to = batch_end(known->definition, reach->position, safe, empty);
	if ((!*empty && apply(known, reach->position, to)) || reach->failing ||
		to - reach->checkpoint >= MOVE_UNCHANGED)
	{
		if (!evs_checkpoint_move(projection, reach->checkpoint, to))
		{
			overtaken = true;
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("the checkpoint of projection \"%s\" is not at %lld any more",
							known->definition->name, (long long) reach->checkpoint)));
		}
		reach->checkpoint = to;
		reach->failing = false;
	}
	reach->position = to;
	return true;
}

/* evstore._lag_seconds(event_table, position) */
Datum
evs_lag_seconds(PG_FUNCTION_ARGS)
{
	TimestampTz recorded_at;

	/* The view that asks outlives a table that is gone, and is open to who may not read the table. */
	if (!evs_table_is_event_table(PG_GETARG_OID(0)) ||
		pg_class_aclcheck(PG_GETARG_OID(0), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		PG_RETURN_NULL();
	if (next_event(PG_GETARG_OID(0), PG_GETARG_INT64(1), &recorded_at) == 0)
		PG_RETURN_FLOAT8(0);
	PG_RETURN_FLOAT8(Max(GetCurrentTimestamp() - recorded_at, 0) / (double) USECS_PER_SEC);
}
