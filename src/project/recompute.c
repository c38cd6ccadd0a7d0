/*
 * recompute.c
 *		What the events up to a position make of a projection's read tables.
 *
 * For a query, that is the query itself over all those events, computed in one
 * go. A statement or a handler is applied once more, from the first event on,
 * to copies of its tables that are never committed: they are made in a
 * subtransaction, and it is rolled back.
 *
 * Either way the answer is that of one snapshot, the caller's, in which a read
 * table stands exactly at its checkpoint (README.md). Nothing is locked but
 * against being dropped.
 *
 * Where a projection has shards, each stands at a checkpoint of its own. Rows of
 * a query are a shard's, and computed shard by shard. Tables of a statement or a
 * handler are those of all shards together: so each shard is applied up to where
 * it stands, one after the other, to the same copies.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/owner.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/batch.h"
#include "project/recompute.h"
#include "project/rows.h"
#include "project/shard.h"
#include "project/shadow.h"
#include "project/view.h"
#include "utils/acl.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* Refuse a caller who is not the projection's owner: it is recomputed with the owner's rights. */
void
evs_recompute_check_caller(const EvsProjection *projection)
{
	if (!superuser() && !has_privs_of_role(GetUserId(), projection->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of projection \"%s\"", projection->name)));
}

/* Run a query over the events up to a position, and keep its rows. */
static void
keep_rows(const EvsProjection *projection, const char *sql, EvsBounds bounds, Tuplestorestate *rows)
{
	const EvsBounds *outer = evs_bounds_set(&bounds);
	EvsOwnerFrame frame;

	PG_TRY();
	{
		evs_owner_begin(&frame, projection->owner, projection->kind == EVS_QUERY ? projection->settings : NULL);
		evs_rows_keep(evs_rows_plan(sql, &bounds, 1), sql, GetActiveSnapshot(), rows, true);
		evs_owner_end(&frame);
	}
	PG_FINALLY();
	{
		(void) evs_bounds_set(outer);
	}
	PG_END_TRY();
}

/* The positions of events that a projection, or this one shard of it, has skipped or parked, in order. Call inside SPI. */
static EvsPosition *
passed_events(const EvsProjection *projection, uint64 *count)
{
	Oid			types[] = {INT4OID, BOOLOID};
	Datum		values[] = {Int32GetDatum(projection->id), BoolGetDatum(projection->shards == 1)};
	EvsPosition *positions;
	bool		isnull;

	evs_owner_run_extension("SELECT DISTINCT s.\"position\" FROM evstore._skipped s JOIN evstore._projection p ON p.id = s.projection"
							" WHERE p.id = $1 OR ($2 AND p.shard_of = $1) ORDER BY s.\"position\"",
							lengthof(types), types, values, NULL, SPI_OK_SELECT);
	*count = SPI_processed;
	positions = palloc_array(EvsPosition, *count);
	for (uint64 i = 0; i < *count; i++)
		positions[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	return positions;
}

/*
 * Apply all events up to a position to the copies of the read tables, batch by
 * batch. Those that the projection has passed are passed again.
 */
static void
apply_all(EvsProjection *projection, EvsPosition position)
{
	uint64		count;
	EvsPosition *passed = passed_events(projection, &count);
	uint64		i = 0;
	EvsPosition next;

	for (EvsPosition from = 0;
		 (next = evs_batch_next_of_any(projection, from)) != 0 && next <= position;)
	{
		EvsPosition to = Min(position, next - 1 + projection->batch_size);

		CHECK_FOR_INTERRUPTS();
		while (i < count && passed[i] < next)
			i++;
		if (i < count && passed[i] <= to)
			to = passed[i] - 1;
		if (to >= next)
			evs_apply_apart(projection, (EvsBounds) {next - 1, to});
		from = Max(to, next);
	}
}

/* A query for every read table, and where its rows go. */
typedef struct Recomputation
{
	const EvsProjection *projection;
	List	   *standings;		/* of EvsStanding */
	List	   *read_tables;
	EvsRecomputedQuery query;
	void	   *context;
	Tuplestorestate *rows;
} Recomputation;

/* A name for a schema of copies that nobody has taken. */
static char *
free_schema(const EvsProjection *projection)
{
	char	   *schema = NULL;

	for (int i = 0; schema == NULL || OidIsValid(get_namespace_oid(schema, true)); i++)
		schema = psprintf("evstore_shadow_%d_%d_%d", projection->id, MyProcPid, i);
	return schema;
}

/* Make copies of the tables, fill them, and query them. */
static void
query_copies(const Recomputation *task, Snapshot snapshot)
{
	char	   *schema = free_schema(task->projection);
	Oid			shadow = evs_shadow_create(task->projection, schema);
	ListCell   *cell;

	foreach(cell, task->standings)
	{
		const EvsStanding *standing = lfirst(cell);
		EvsProjection apart = *standing->projection;

		apart.shadow = shadow;
		apart.settings = evs_owner_settings_with_schema(apart.settings, schema);
		apply_all(&apart, standing->position);
	}

	/* The snapshot as it was, but for what this transaction itself has written since. */
	PushCopiedSnapshot(snapshot);
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	foreach(cell, task->read_tables)
	{
		Oid			table = lfirst_oid(cell);

		keep_rows(task->projection,
				  task->query(task->projection, table, evs_shadow_table(schema, table), task->context),
				  (EvsBounds) {0}, task->rows);
	}
	PopActiveSnapshot();
}

/* The same in a subtransaction, so that nothing is left of the copies. */
static void
query_copies_and_forget(const Recomputation *task)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Snapshot	snapshot = GetActiveSnapshot();
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		query_copies(task, snapshot);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error)
		ReThrowError(error);
}

/*
 * Compute the read tables of a projection from the events up to a position, or
 * those of each of its shards from its own, which all are visible to the active
 * snapshot, and put the rows of a query over each into "rows". Call inside SPI.
 */
void
evs_recompute(List *standings, List *read_tables, EvsRecomputedQuery query, void *context, Tuplestorestate *rows)
{
	EvsProjection *projection = ((EvsStanding *) linitial(standings))->projection;
	Recomputation task = {projection, standings, read_tables, query, context, rows};
	ListCell   *cell;

	evs_apply_check(projection);
	evs_shard_check_hashes(projection);
	if (projection->is_inline && projection->kind != EVS_QUERY)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an inline statement or handler cannot be computed anew"),
				 errdetail("It was applied in the order in which events came, which is not that of their positions."),
				 errhint("Have workers apply it with evstore.set_projection(name, mode => 'async').")));
	if (projection->kind != EVS_QUERY)
	{
		PreventCommandIfReadOnly("computing a statement or handler projection anew");
		evs_shadow_require_tables(projection);
		query_copies_and_forget(&task);
		return;
	}
	evs_view_require(projection);
	foreach(cell, standings)
	{
		EvsStanding *standing = lfirst(cell);

		keep_rows(standing->projection,
				  query(standing->projection, linitial_oid(read_tables),
						psprintf("(%s)", evs_view_initial(standing->projection)), context),
				  (EvsBounds) {0, standing->position, standing->projection->shard, standing->projection->shards}, rows);
	}
}
