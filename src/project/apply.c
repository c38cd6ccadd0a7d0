/*
 * apply.c
 *		Applying the events between two positions to a projection.
 *
 * What is run is one statement, whatever the kind of the projection: the upsert
 * of a query, the statement as it was declared, or the calls of a handler. It
 * runs as the projection's owner, under the settings of its declaration. Who
 * decides which events, and moves the checkpoint, is batch.c or inline.c.
 *
 * Few events use a plan kept from one batch to the next, made for the primary
 * key and immune to statistics that were gathered when the table was small.
 * Many, when catching up, are planned each time for what they span; those of a
 * query go by way of catchup.c. A handler gets its events one by one, in order,
 * and has one plan for both.
 *
 * A worker has its planner settings for good. In a session that appends they are
 * set where a kept plan is made, and only there: setting them costs more than
 * running the plan.
 *
 * What is kept is forgotten when definitions change. That may be noticed while
 * some of it is in use further up: a handler appends, and what it appends is
 * applied to other projections. So it is retired first, and freed later.
 */
#include "evstore.h"

#include "base/confine.h"
#include "base/database.h"
#include "base/owner.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "project/apply.h"
#include "project/catchup.h"
#include "project/generation.h"
#include "project/shadow.h"
#include "project/view.h"
#include "storage/lmgr.h"
#include "store/cause.h"
#include "store/table.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/syscache.h"

/*
 * Planner settings, so that no plan hangs on statistics: a worker's own are for
 * few events, and what many change of them.
 */
static const char *const few_settings[][2] = {
	{"enable_seqscan", "off"}, {"enable_bitmapscan", "off"}, {"enable_sort", "off"}, {"jit", "off"},
};
static const char *const many_settings[][2] = {
	{"enable_seqscan", "on"}, {"enable_bitmapscan", "on"}, {"work_mem", "64MB"},
};

/* What is kept of a projection, besides its definition. */
typedef struct EvsAppliedState
{
	char	   *sql;			/* applies a batch */
	char	   *select;			/* the same in two steps, for a query: its rows in a big batch, */
	char	   *upsert;			/* and what is done with them */
	char	   *read_table;		/* the name in "sql" and "upsert" of a query's read table, or NULL */
	SPIPlanPtr	plan;			/* of "sql", for few events */
	bool		doubtful;		/* the server made the plan anew under other settings than ours */
	MemoryContext context;
	struct EvsAppliedState *next_retired;
} EvsAppliedState;

typedef struct KnownEntry
{
	int			id;				/* hash key */
	EvsApplied *applied;
} KnownEntry;

static HTAB *known = NULL;		/* of KnownEntry */
static uint32 known_generation; /* of the definitions in it */
static bool known_uncommitted = false;	/* some may be of a transaction that was rolled back */

static int	depth = 0;			/* applications under way, one within another */
static EvsAppliedState *retired = NULL; /* forgotten, and maybe still in use there */

/* This process will apply batches. */
void
evs_apply_prepare_process(void)
{
	for (int i = 0; i < lengthof(few_settings); i++)
		SetConfigOption(few_settings[i][0], few_settings[i][1], PGC_USERSET, PGC_S_SESSION);
}

/* Forget a projection. */
static void
forget(KnownEntry *entry)
{
	entry->applied->state->next_retired = retired;
	retired = entry->applied->state;
	hash_search(known, &entry->id, HASH_REMOVE, NULL);
}

/* Free what was retired, once nobody can be using it. */
static void
free_retired(void)
{
	while (retired && depth == 0)
	{
		EvsAppliedState *state = retired;

		retired = state->next_retired;
		if (state->plan)
			SPI_freeplan(state->plan);
		MemoryContextDelete(state->context);
	}
}

/* Forget every definition and plan. */
void
evs_apply_forget_all(void)
{
	HASH_SEQ_STATUS scan;
	KnownEntry *entry;

	if (known == NULL)
		return;
	hash_seq_init(&scan, known);
	while ((entry = hash_seq_search(&scan)) != NULL)
		forget(entry);
}

/*
 * Forget what may not be so any more. What a transaction has changed itself is
 * read anew each time: no generation tells of it before it commits, nor when it
 * is rolled back.
 */
static void
forget_outdated(void)
{
	uint32		generation = evs_generation(evs_database_slot());
	bool		uncommitted = evs_projection_changed_here();

	if (generation != known_generation || uncommitted || known_uncommitted)
		evs_apply_forget_all();
	known_generation = generation;
	known_uncommitted = uncommitted;
}

/* Refuse to apply where it could not be right. */
void
evs_apply_check(const EvsProjection *projection)
{
	ListCell   *cell;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(projection->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of projection \"%s\" does not exist", projection->name),
				 errdetail("Role %u was dropped.", projection->owner),
				 errhint("Drop the projection, and create it as another role.")));
	foreach(cell, projection->event_tables)
	{
		if (!evs_table_is_event_table(lfirst_oid(cell)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("the event table of projection \"%s\" does not exist", projection->name)));
		evs_projection_check_policies(lfirst_oid(cell), projection->owner);
	}
	if (projection->rebuilds != 0 && projection->kind != EVS_QUERY && !OidIsValid(projection->shadow))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("schema \"%s\" does not exist", evs_projection_shadow(projection->id)),
				 errdetail("It held the tables in which projection \"%s\" is built anew.", projection->name),
				 errhint("Run evstore.cancel_rebuild(), and rebuild the projection again.")));
	if (!OidIsValid(projection->state_table))
		return;
	if (get_rel_name(projection->state_table) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the read table of projection \"%s\" does not exist", projection->name),
				 errhint("Drop the projection, and create it again.")));
	if (get_rel_persistence(projection->state_table) != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the read table of projection \"%s\" is not logged", projection->name),
				 errdetail("A crash would empty it and leave its checkpoint where it is."),
				 errhint("Run ALTER TABLE ... SET LOGGED.")));
}

/*
 * The present name of the table that a query is stored in, NULL if there is
 * none. The lock keeps the name what it is until the batch is committed: tables
 * may be exchanged by renaming them.
 */
static char *
lock_read_table(const EvsProjection *projection)
{
	if (OidIsValid(projection->shadow))
		evs_shadow_lock(projection, RowExclusiveLock);
	if (projection->kind != EVS_QUERY)
		return NULL;
	LockRelationOid(projection->state_table, RowExclusiveLock);
	if (get_rel_name(projection->state_table) == NULL)
		return NULL;
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(projection->state_table)),
									  get_rel_name(projection->state_table));
}

/* Write the statements that apply a batch. */
static void
write_sql(const EvsProjection *projection, EvsAppliedState *state)
{
	switch (projection->kind)
	{
		case EVS_QUERY:
			state->select = evs_view_select(projection);
			state->upsert = evs_view_upsert(projection, state->read_table, "SELECT * FROM " EVS_CATCHUP_ROWS);
			state->sql = evs_view_upsert(projection, state->read_table, state->select);
			break;
		case EVS_STATEMENT:
			state->sql = pstrdup(projection->definition);
			break;
		case EVS_HANDLER:
			state->sql = evs_view_select(projection);
			break;
	}
}

/* Load a projection, in a context of its own below "parent"; NULL if it is gone. */
static EvsApplied *
load(int id)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "evstore projection", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EvsAppliedState *state = palloc0_object(EvsAppliedState);
	EvsApplied *applied = palloc_object(EvsApplied);
	KnownEntry *entry;

	state->context = context;
	applied->state = state;
	applied->definition = evs_projection_load(id);
	if (applied->definition)
	{
		state->read_table = lock_read_table(applied->definition);
		evs_apply_check(applied->definition);
		write_sql(applied->definition, state);
	}
	MemoryContextSwitchTo(caller);
	if (applied->definition == NULL)
		return NULL;

	entry = hash_search(known, &id, HASH_ENTER, NULL);
	entry->applied = applied;
	MemoryContextSetParent(context, TopMemoryContext);
	return applied;
}

/*
 * A projection to apply events to, its read table locked against being renamed;
 * NULL if it is gone. Call inside SPI.
 */
EvsApplied *
evs_apply_find(int id)
{
	KnownEntry *entry;

	if (known == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(int),
			.entrysize = sizeof(KnownEntry),
			.hcxt = TopMemoryContext,
		};

		known = hash_create("evstore projections", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	forget_outdated();
	free_retired();

	entry = hash_search(known, &id, HASH_FIND, NULL);
	if (entry)
	{
		EvsApplied *applied = entry->applied;
		char	   *name = lock_read_table(applied->definition);

		if (applied->state->read_table == NULL || (name && strcmp(name, applied->state->read_table) == 0))
			return applied;
		forget(entry);
	}
	return load(id);
}

/* What is applied, for messages of errors inside it. */
typedef struct BatchContext
{
	const char *projection;
	EvsBounds	bounds;			/* up to 0 at first */
} BatchContext;

/* Name the batch. */
static void
batch_error_context(void *arg)
{
	const BatchContext *batch = arg;

	if (batch->bounds.to > 0)
		errcontext("projection \"%s\", events after position %lld up to %lld",
				   batch->projection, (long long) batch->bounds.from, (long long) batch->bounds.to);
}

/* Stop if SPI could not do what it was told. */
static void
check_result(int result)
{
	if (result < 0)
		elog(ERROR, "could not apply a batch: %s", SPI_result_code_string(result));
}

/* Is the plan of every statement of a prepared text still good? Counts how often any was planned. */
static bool
is_planned(SPIPlanPtr prepared, int *times)
{
	bool		planned = true;
	ListCell   *cell;

	*times = 0;
	foreach(cell, SPI_plan_get_plan_sources(prepared))
	{
		CachedPlanSource *source = lfirst(cell);

		planned = planned && source->is_valid && source->gplan && source->gplan->is_valid;
		*times += source->generation;
	}
	return planned;
}

/*
 * Plan for few events, or for many, until the frame ends. An inline query wants
 * its rows sorted by key, and an aggregate that collects wants those of a group
 * together. Better sort the few there are than read all events by an index that
 * has that order.
 */
static void
pin_settings(const EvsProjection *projection, bool many)
{
	for (int i = 0; i < lengthof(few_settings); i++)
		evs_owner_pin(few_settings[i][0], few_settings[i][1]);
	for (int i = 0; many && i < lengthof(many_settings); i++)
		evs_owner_pin(many_settings[i][0], many_settings[i][1]);
	if (projection->is_inline || projection->ordered)
		evs_owner_pin("enable_sort", "on");
}

/* What is planned until the settings are put back is for many events. */
void
evs_apply_plan_for_many(const EvsProjection *projection)
{
	pin_settings(projection, true);
}

/*
 * Run the kept plan. Returns how many rows the statement has written, if it says
 * so. A plan can lose its validity while its tables are being locked; then the
 * server makes another without our settings, which serves this once.
 */
static uint64
run_kept(const EvsApplied *applied)
{
	EvsAppliedState *state = applied->state;
	SPIExecuteOptions options = {.dest = None_Receiver};
	bool		planned;
	int			times = 0;
	int			times_then;

	if (state->doubtful)
	{
		SPI_freeplan(state->plan);
		state->plan = NULL;
		state->doubtful = false;
	}
	planned = state->plan && is_planned(state->plan, &times);
	if (!planned)
		pin_settings(applied->definition, false);
	if (state->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(state->sql, 0, NULL);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare the batch of projection \"%s\"", applied->definition->name);
		state->plan = plan;
	}
	check_result(SPI_execute_plan_extended(state->plan, &options));
	(void) is_planned(state->plan, &times_then);
	state->doubtful = planned && times_then != times;
	return SPI_processed;
}

/* Plan for what the batch spans, and run it; only a query takes several ranges at once. Returns the same. */
static uint64
run_planned(const EvsApplied *applied, const EvsBounds *ranges, int count)
{
	EvsAppliedState *state = applied->state;
	SPIExecuteOptions options = {.dest = None_Receiver};

	pin_settings(applied->definition, true);
	if (applied->definition->kind == EVS_QUERY)
		return evs_catchup_apply(state->select, state->upsert, ranges, count);
	check_result(SPI_execute_extended(state->sql, &options));
	return SPI_processed;
}

/* Apply the events of one range, or, for a query, of several. */
static uint64
run(const EvsApplied *applied, const EvsBounds *ranges, int count, BatchContext *batch)
{
	batch->bounds = (EvsBounds) {
		ranges[0].from, ranges[count - 1].to, applied->definition->shard, applied->definition->shards
	};
	(void) evs_bounds_set(&batch->bounds);
	return count == 1 && (applied->definition->kind == EVS_HANDLER || ranges->to - ranges->from <= EVS_FEW_EVENTS) ?
		run_kept(applied) : run_planned(applied, count == 1 ? &batch->bounds : ranges, count);
}

/* Run what applies the events of some ranges, as the projection's owner. */
static uint64
run_as_owner(const EvsApplied *applied, const EvsBounds *ranges, int count, BatchContext *batch)
{
	EvsProjection *projection = applied->definition;
	EvsOwnerFrame frame;
	uint64		written = 0;

	evs_owner_begin(&frame, projection->owner, projection->settings);
	if (projection->kind == EVS_QUERY)
		written = run(applied, ranges, count, batch);
	else
		for (int i = 0; i < count; i++)
			written += run(applied, &ranges[i], 1, batch);
	evs_owner_end(&frame);
	return written;
}

/* Apply the events of some ranges, one after the other. Says whether that can have changed anything. Call inside SPI. */
bool
evs_apply_ranges(EvsApplied *applied, const EvsBounds *ranges, int count)
{
	BatchContext batch = {.projection = applied->definition->name};
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = batch_error_context,
		.arg = &batch,
	};
	const EvsBounds *outer = evs_bounds();
	EvsCause	cause = evs_cause_set_aside();
	Oid			confined = evs_confine(applied->definition->shadow);
	volatile uint64 written = 0;

	error_context_stack = &context;
	depth++;
	PG_TRY();
	{
		written = run_as_owner(applied, ranges, count, &batch);
	}
	PG_FINALLY();
	{
		depth--;
		(void) evs_bounds_set(outer);
		(void) evs_confine(confined);
		evs_cause_resume(cause);
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	/* What a statement has done, the number of rows does not tell. */
	return applied->definition->kind == EVS_STATEMENT || written > 0;
}

/* Apply the events of a batch; likewise. */
bool
evs_apply_events(EvsApplied *applied, EvsBounds bounds)
{
	return evs_apply_ranges(applied, &bounds, 1);
}

/* Apply events to a projection that is not one of those kept. Call inside SPI. */
void
evs_apply_apart(EvsProjection *projection, EvsBounds bounds)
{
	EvsAppliedState state = {0};
	EvsApplied	applied = {.definition = projection, .state = &state};

	write_sql(projection, &state);
	PG_TRY();
	{
		(void) evs_apply_events(&applied, bounds);
	}
	PG_FINALLY();
	{
		if (state.plan)
			SPI_freeplan(state.plan);
	}
	PG_END_TRY();
}

/*
 * Have a function see a batch that is not applied, planned as a worker would
 * plan it. The settings are gone when the caller's frame ends.
 */
void
evs_apply_imagine(const EvsProjection *projection, EvsBounds bounds, void (*function) (void *, const EvsBounds *), void *argument)
{
	const EvsBounds *outer = evs_bounds_set(&bounds);

	bounds.shard = projection->shard;
	bounds.shards = projection->shards;
	pin_settings(projection, bounds.to - bounds.from > EVS_FEW_EVENTS);
	PG_TRY();
	{
		function(argument, &bounds);
	}
	PG_FINALLY();
	{
		(void) evs_bounds_set(outer);
	}
	PG_END_TRY();
}
