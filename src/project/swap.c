/*
 * swap.c
 *		Putting what a rebuild has built in place.
 *
 * In one transaction, the read tables in use are brought to what the rebuild's
 * hold, row by row, where they differ: rows that are not there any more are
 * deleted, those that differ updated, those missing inserted. The tables stay
 * the same tables, with their indexes, privileges, comments, dependent views
 * and foreign keys, and readers never wait: they see the one or the other.
 *
 * Nobody else may apply the projection meanwhile, and no later batch be made
 * for its old definition. So the worker that swaps holds the claims of both in
 * shared memory, or knows by the checkpoint's row, which it has locked, that the
 * projection is paused. Locks are taken in this order, here and by whoever
 * drops a projection: read tables, the rebuild's tables, the projection's
 * checkpoint, the rebuild's.
 *
 * A projection with shards is built anew as a whole, and all its shards are set
 * to the position that the whole has come to.
 *
 * An inline projection has no checkpoint, and every append changes its read
 * tables. So those who append are kept out, as for a switch of modes (mode.c): the
 * rebuild is brought to the last position handed out, and what is above that is
 * applied by those who append it, who then find the new definition. If that follows
 * other event tables, those who append to any of them are kept out.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/checkpoint.h"
#include "project/batch.h"
#include "project/compare.h"
#include "project/rebuild.h"
#include "project/reshape.h"
#include "project/tell.h"
#include "project/mode.h"
#include "project/rows.h"
#include "project/shadow.h"
#include "project/shard.h"
#include "project/shards.h"
#include "project/swap.h"
#include "project/view.h"
#include "project/writers.h"
#include "storage/lmgr.h"
#include "store/position.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* How long a swap waits for who writes the read tables: a worker has more to do. */
#define LOCK_TIMEOUT "10s"
/* And where readers, or those who append, would wait behind it. */
#define SHORT_LOCK_TIMEOUT "1s"

/* The name of a rebuild's table that stands for a read table, which may have got another name meanwhile. */
static char *
built_table(const EvsProjection *rebuild, Oid read_table)
{
	return evs_shadow_table(evs_projection_shadow(rebuild->id),
							rebuild->kind == EVS_QUERY ? rebuild->state_table : read_table);
}

/* Bring one read table to what the rebuild holds. Returns how many rows differed. */
static int64
merge(const EvsProjection *original, const EvsProjection *rebuild, Oid read_table)
{
	EvsCompared *table = evs_compare_describe(rebuild, read_table);
	char	   *differences = evs_compare_differences(table, built_table(rebuild, read_table));
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	EvsBounds	none = {0, 0};
	EvsOwnerFrame frame;
	PlannedStmt *plan;
	ListCell   *cell;
	int64		count;

	evs_owner_begin(&frame, original->owner, original->settings);
	plan = evs_rows_plan(differences, &none, 1);
	evs_rows_register(plan, rows, EVS_COMPARE_ROWS);
	evs_rows_keep(plan, differences, GetTransactionSnapshot(), rows, false);
	count = tuplestore_tuple_count(rows);
	foreach(cell, evs_compare_merge(table))
	{
		if (count > 0 && SPI_execute(lfirst(cell), false, 0) < 0)
			elog(ERROR, "could not execute \"%s\"", (char *) lfirst(cell));
	}
	SPI_unregister_relation(EVS_COMPARE_ROWS);
	evs_owner_end(&frame);
	tuplestore_end(rows);
	return count;
}

/* Refuse to lock a table against its writers, as LOCK TABLE does, for an owner who could not. */
static void
check_writable(const EvsProjection *projection, Oid table)
{
	bool		is_missing = false;

	if (pg_class_aclcheck_ext(table, projection->owner, ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE,
							  &is_missing) != ACLCHECK_OK && !is_missing)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for read table \"%s\"", get_rel_name(table)),
				 errdetail("What is built can be put in place only if the owner of projection \"%s\" may change its rows.",
						   projection->name)));
}

/* What of a checkpoint's row matters to a swap. */
typedef struct Standing
{
	EvsPosition position;
	bool		held;			/* no worker applies the projection: it is paused, or stopped */
	int			parked;			/* streams that are held back */
} Standing;

/* How a projection stands; false if it is gone. Locked to the end of the transaction, if asked for. */
static bool
read_standing(int id, bool lock, Standing *standing)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(id)};
	bool		isnull;

	evs_owner_run_extension(psprintf("SELECT \"position\", paused OR stopped, parked"
									 " FROM evstore._checkpoint WHERE projection = $1%s", lock ? " FOR UPDATE" : ""),
							1, types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	standing->position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	standing->held = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	standing->parked = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	return true;
}

/*
 * The projection has the rebuild's past now: events that were passed before, the
 * rebuild has applied, and those that it has passed itself are missing.
 */
static void
take_over_failures(const EvsProjection *original, const EvsProjection *rebuild, EvsPosition checkpoint)
{
	Oid			types[] = {INT4OID, INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(rebuild->rebuilds), Int32GetDatum(rebuild->id), Int64GetDatum(checkpoint)};

	evs_owner_run_extension("DELETE FROM evstore._skipped WHERE projection IN " EVS_SHARDS_OF, 1, types, values, NULL, SPI_OK_DELETE);
	evs_owner_run_extension("DELETE FROM evstore._parked WHERE projection IN " EVS_SHARDS_OF, 1, types, values, NULL, SPI_OK_DELETE);
	evs_owner_run_extension("UPDATE evstore._skipped SET projection = $1 WHERE projection = $2",
							2, types, values, NULL, SPI_OK_UPDATE);
	evs_owner_run_extension("UPDATE evstore._parked SET projection = $1 WHERE projection = $2",
							2, types, values, NULL, SPI_OK_UPDATE);
	evs_owner_run_extension("UPDATE evstore._checkpoint c SET \"position\" = $3, applied_at = pg_catalog.clock_timestamp(),"
							" failures = 0, failed_at = NULL, last_error = NULL, failed_position = NULL, stopped = false,"
							" given_up = 0 WHERE c.projection IN " EVS_SHARDS_OF " AND $2 IS NOT NULL",
							lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	evs_shards_settle_passed(original, original->shards);
}

/*
 * The read tables are complete up to a checkpoint: the rebuild's definition is
 * the projection's, and the rebuild is gone. A projection that follows other
 * event tables now is divided anew: what is believed of it in memory was found in
 * those that it followed before.
 */
static void
succeed(const EvsProjection *original, const EvsProjection *rebuild, Oid read_table, EvsPosition checkpoint)
{
	bool		is_view = original->kind == EVS_QUERY && read_table != original->state_table;
	Oid			types[] = {INT4OID, OIDOID, OIDOID};
	Datum		values[] = {
		Int32GetDatum(original->id), ObjectIdGetDatum(read_table),
		ObjectIdGetDatum(is_view ? original->state_table : InvalidOid),
	};
	bool		has_view = OidIsValid(evs_view_own(rebuild->id));

	take_over_failures(original, rebuild, checkpoint);
	evs_owner_run_extension("UPDATE evstore._projection p SET kind = r.kind, definition = r.definition, columns = r.columns,"
							" keys = r.keys, on_conflict = r.on_conflict, settings = r.settings, ordered = r.ordered,"
							" event_table = r.event_table, event_tables = r.event_tables,"
							" division = p.division + (ROW(p.event_table, p.event_tables) IS DISTINCT FROM ROW(r.event_table, r.event_tables))::integer,"
							" read_table = nullif($2, 0::oid), state_table = nullif($3, 0::oid),"
							" read_tables = CASE p.kind WHEN 'query' THEN ARRAY[$2]::regclass[] ELSE r.read_tables END"
							" FROM evstore._projection r WHERE (p.id = $1 OR p.shard_of = $1) AND r.rebuilds = $1",
							lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	if ((has_view || rebuild->kind == EVS_STATEMENT) && OidIsValid(evs_view_own(rebuild->rebuilds)))
		evs_owner_run_extension(psprintf("DROP VIEW evstore._batch_%d CASCADE", rebuild->rebuilds),
								0, NULL, NULL, NULL, SPI_OK_UTILITY);
	if (has_view)
		evs_owner_run_extension(psprintf("ALTER VIEW evstore._batch_%d RENAME TO _batch_%d", rebuild->id, rebuild->rebuilds),
								0, NULL, NULL, NULL, SPI_OK_UTILITY);
	evs_projection_delete(rebuild);
	evs_shadow_drop(evs_projection_shadow(rebuild->id));
	if (original->is_inline)
	{
		evs_mode_follow(rebuild->event_tables);
		evs_mode_tidy(original->event_tables);
	}
	if (original->shards > 1)
	{
		evs_projection_set_division(original->id, original->shards, evs_shard_hashes());
		evs_shards_make_views(evs_projection_load(original->id));
	}
}

/* Bring the read tables to what the rebuild holds, in its shape, *read_table with it. Returns how many rows differed. */
static int64
merge_all(const EvsProjection *original, const EvsProjection *rebuild, const List *tables,
		  const EvsReshape *shape, Oid *read_table)
{
	EvsOwnerFrame frame;
	ListCell   *cell;
	int64		count = 0;

	if (shape)
	{
		evs_owner_begin(&frame, original->owner, NULL);
		evs_reshape_columns(shape);
		evs_owner_end(&frame);
	}
	foreach(cell, tables)
		count += merge(original, rebuild, lfirst_oid(cell));
	if (shape)
	{
		evs_owner_begin(&frame, original->owner, NULL);
		*read_table = evs_reshape_finish(shape);
		evs_owner_end(&frame);
	}
	return count;
}

/* Do not wait for a lock any longer, to the end of the transaction. */
static void
set_lock_timeout(const char *timeout)
{
	(void) set_config_option("lock_timeout", timeout, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Lock what the swap changes: writers wait, readers go on. Where the table gets
 * another shape, readers have to wait, and so it must not wait long itself; nor
 * where those who append have to. A view that is the read table is locked before
 * what is behind it, as its readers do, and a view of batches that goes, like
 * everywhere, before any checkpoint.
 */
static void
lock_all(const EvsProjection *original, const EvsProjection *rebuild, const List *tables, const EvsReshape *shape)
{
	ListCell   *cell;

	if (!shape && !original->is_inline)
		set_lock_timeout(LOCK_TIMEOUT);
	if (original->is_inline)
		evs_writers_keep_out(list_union_oid(original->event_tables, rebuild->event_tables));
	if (shape && shape->view)
		LockRelationOid(original->read_table, AccessExclusiveLock);
	foreach(cell, tables)
	{
		check_writable(original, lfirst_oid(cell));
		LockRelationOid(lfirst_oid(cell), shape ? AccessExclusiveLock : ShareRowExclusiveLock);
	}
	evs_rebuild_lock_tables(rebuild);
	if (!OidIsValid(evs_view_own(rebuild->id)) && rebuild->kind != EVS_STATEMENT)
		return;
	evs_view_lock(original, AccessExclusiveLock);
	if (OidIsValid(evs_view_own(rebuild->id)))
		evs_view_lock(rebuild, AccessExclusiveLock);
}

/* Apply to the rebuild what it lacks, as any other batch. False if it cannot be had now. */
static bool
apply_rest(const EvsClaim *claim, EvsReach *reach, EvsPosition safe)
{
	bool		empty;

	while (reach->position < safe)
		if (!evs_batch_apply(claim, reach, safe, &empty))
			return false;
	return true;
}

/* Put in place what is built: of the rebuild and all that it needs, all is locked. */
static void
put_in_place(const EvsProjection *original, const EvsProjection *rebuild, const List *tables,
			 const EvsReshape *shape, EvsPosition safe)
{
	Oid			read_table = original->kind == EVS_QUERY ? original->read_table :
		tables != NIL ? linitial_oid(tables) : InvalidOid;
	int64		count;

	evs_apply_plan_for_many(original);
	count = merge_all(original, rebuild, tables, shape, &read_table);
	succeed(original, rebuild, read_table, original->is_inline ? EVS_INLINE_CHECKPOINT : safe);
	if (count > 0)
		evs_tell_listeners(original->name, safe, -1);
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("projection \"%s\" was built anew up to position %lld", original->name, (long long) safe),
			 errdetail("%lld rows differed, and were put in place in %lld ms.", (long long) count,
					   (long long) TimestampDifferenceMilliseconds(GetCurrentTransactionStartTimestamp(),
																   GetCurrentTimestamp()))));
}

/* The projection that is rebuilt: all its shards, and what the caller holds of them. */
typedef struct Shards
{
	List	   *ids;			/* in ascending order */
	const EvsClaim *claims;
	int			count;			/* of claims */
	bool		held;			/* no worker can apply any of them */
	EvsPosition farthest;		/* that any of them is known to have come to */
} Shards;

/* The claim that the caller holds of a shard, NULL if it holds none. */
static const EvsClaim *
claim_of(const Shards *shards, int id)
{
	for (int i = 0; i < shards->count; i++)
		if (shards->claims[i].projection == id)
			return &shards->claims[i];
	return NULL;
}

/* See how the shards stand; false if one is gone. */
static bool
read_shards(const EvsProjection *original, bool lock, Shards *shards)
{
	ListCell   *cell;

	shards->held = true;
	shards->farthest = 0;
	/* Where those who append apply it, it does not stand anywhere. */
	if (original->is_inline)
		return read_standing(original->id, lock, &(Standing) {0});
	foreach(cell, shards->ids)
	{
		const EvsClaim *claim = claim_of(shards, lfirst_int(cell));
		Standing	standing;

		if (!read_standing(lfirst_int(cell), lock, &standing))
			return false;
		shards->held = shards->held && (standing.held || (claim && claim->division == original->division));
		shards->farthest = Max(shards->farthest, Max(standing.position, claim ? claim->reach.position : 0));
	}
	return true;
}

/* Say where the shards that the caller has claimed stand now. */
static void
report_reaches(const Shards *shards, EvsReach *reaches)
{
	for (int i = 0; i < shards->count; i++)
	{
		Standing	standing = {0};

		(void) read_standing(shards->claims[i].projection, false, &standing);
		reaches[i] = (EvsReach) {
			.checkpoint = standing.position, .position = standing.position, .parked = standing.parked,
		};
	}
}

/*
 * Refuse to put in place of an inline projection what cannot be inline: it may
 * have become so while the rebuild began, and then neither knew of the other.
 */
static void
check_inline(const EvsProjection *rebuild, const Standing *built)
{
	evs_mode_check_inline(rebuild);
	if (built->parked > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the rebuild of projection \"%s\" holds streams back", rebuild->name),
				 errdetail("The projection is inline now, and nobody would hold back what is appended to them."),
				 errhint("Run evstore.cancel_rebuild(), and rebuild it again.")));
}

/*
 * Refuse to put in place what a replacement has built whose view has gone with
 * something that it uses: some of it is the work of the view that it replaces.
 */
static void
check_view(const EvsProjection *original, const EvsProjection *rebuild)
{
	bool		is_there = rebuild->kind == EVS_STATEMENT || OidIsValid(evs_view_own(rebuild->id)) ||
		strcmp(rebuild->definition, original->definition) == 0;

	if (!is_there || (rebuild->kind == EVS_QUERY && get_rel_name(rebuild->read_table) == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the new definition of projection \"%s\" was dropped", original->name),
				 errdetail("Something that it uses was dropped with CASCADE."),
				 errhint("Run evstore.cancel_rebuild().")));
}

/*
 * The shape that what is stored of a query is to get, NULL if it has it already.
 * What stands in its way may have come since the query was replaced.
 */
static EvsReshape *
plan_shape(const EvsProjection *original, const EvsProjection *rebuild)
{
	EvsReshape *shape = NULL;

	check_view(original, rebuild);
	if (original->kind == EVS_QUERY && OidIsValid(evs_view_own(rebuild->id)))
		shape = evs_reshape_plan(original, rebuild);
	if (shape)
		evs_reshape_check(shape, original->owner);
	return shape;
}

/*
 * Swap a claimed rebuild, if it can be done now. "held" are the claims that the
 * caller holds of the projection that is rebuilt, or of its shards, so many, each
 * with where it is known to have come; "reaches" are set to where they stand
 * now. Call inside SPI, with a snapshot, which is exchanged for a new one.
 */
EvsSwapResult
evs_swap(const EvsClaim *claim, const EvsClaim *held, int count, EvsReach *reaches)
{
	EvsProjection *rebuild = evs_projection_load(claim->projection);
	EvsProjection *original = rebuild ? evs_projection_load(rebuild->rebuilds) : NULL;
	Shards		shards = {.claims = held, .count = count};
	EvsReach	built = claim->reach;
	EvsReshape *shape;
	Standing	built_standing;
	EvsPosition safe;
	List	   *tables;

	if (original == NULL)
		return EVS_SWAP_GONE;
	shards.ids = evs_shards_list(original->id);
	if (!read_shards(original, false, &shards))
		return EVS_SWAP_GONE;
	/* Somebody applies it: not even its locks are to be waited for. */
	if (!shards.held || !evs_mode_lock(rebuild->id, false) || !evs_shards_lock_modes(shards.ids, false))
		return EVS_SWAP_LATER;
	/* From here on its mode is what it is. */
	original = evs_projection_load(original->id);
	if (original == NULL)
		return EVS_SWAP_GONE;
	tables = original->kind == EVS_QUERY ? list_make1_oid(original->state_table) : rebuild->read_tables;
	evs_apply_check(rebuild);
	set_lock_timeout(SHORT_LOCK_TIMEOUT);
	shape = plan_shape(original, rebuild);
	lock_all(original, rebuild, tables, shape);
	/* What is locked now stays; it may have gone before. */
	if (original->kind == EVS_QUERY)
		evs_apply_check(original);
	else
		evs_shadow_require_tables(rebuild);
	evs_apply_check(rebuild);
	if (shape)
		shape = plan_shape(original, rebuild);
	check_view(original, rebuild);
	if (!read_shards(original, true, &shards) || !read_standing(rebuild->id, true, &built_standing))
		return EVS_SWAP_GONE;
	if (original->is_inline)
		check_inline(rebuild, &built_standing);

	/* First the mark, then the snapshot: store/position.c. */
	PopActiveSnapshot();
	safe = original->is_inline ? evs_mode_last_position(original) : evs_position_safe();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!shards.held || built_standing.held ||
		safe < Max(shards.farthest, Max(built.position, built_standing.position)) ||
		!apply_rest(claim, &built, safe))
		return EVS_SWAP_LATER;
	put_in_place(original, rebuild, tables, shape, safe);
	report_reaches(&shards, reaches);
	return EVS_SWAP_DONE;
}
