/*
 * rebuild.c
 *		Building the read tables of a projection anew, beside those in use.
 *
 * A rebuild is an ordinary projection, which the workers apply like any other,
 * with a checkpoint of its own that begins at 0. What it fills are tables in a
 * schema of its own, evstore_shadow_<id>: for a query, a table made like the
 * read table; for others, copies of all that they declare (shadow.c). Its row
 * says which projection it stands beside. When it has caught up, swap.c brings
 * the read tables in use to what it has built, and it is gone.
 *
 * All of it is ordinary rows of ordinary tables: a crash anywhere leaves the
 * projection as it was, and the rebuild goes on after the restart.
 */
#include "evstore.h"

#include "base/owner.h"
#include "base/shmem.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/bounds.h"
#include "project/checkpoint.h"
#include "project/declare.h"
#include "project/rebuild.h"
#include "project/shadow.h"
#include "project/view.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* The first column of the first row, a number, that a query over the extension's tables gives; 0 if there is none. */
static int
ask(const char *sql)
{
	bool		isnull;

	evs_owner_run_extension(sql, 0, NULL, NULL, NULL, SPI_OK_SELECT);
	return SPI_processed == 0 ? 0 :
		DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* The id of the rebuild of a projection, 0 if there is none. Call inside SPI. */
int
evs_rebuild_find(int original)
{
	return ask(psprintf("SELECT id FROM evstore._projection WHERE rebuilds = %d", original));
}

/*
 * The projection that the first argument of a SQL function names, if the caller
 * may steer it. Nobody else begins to rebuild it, or drops it, until the
 * transaction ends. Call inside SPI.
 */
EvsProjection *
evs_rebuild_original(FunctionCallInfo fcinfo, const char *function)
{
	int			id = evs_projection_own(fcinfo, function);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EvsProjection *original;

	evs_declare_lock_name(name);
	original = evs_projection_load(id);
	if (original == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("projection \"%s\" does not exist", name)));
	return original;
}

/*
 * Begin a rebuild: there is none yet, and the projection is one that can be
 * built anew. Returns the id that the rebuild gets. Call inside SPI.
 */
int
evs_rebuild_prepare(const EvsProjection *original)
{
	int			id;

	if (evs_rebuild_find(original->id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("projection \"%s\" is being rebuilt already", original->name),
				 errdetail("How far it is shows evstore.rebuild_progress."),
				 errhint("Wait for it, or run evstore.cancel_rebuild().")));
	/* From here on its read table stays. */
	if (OidIsValid(original->state_table))
		LockRelationOid(original->state_table, AccessShareLock);
	evs_apply_check(original);
	/* What is called as our schema would be called is somebody else's: there are more numbers. */
	do
		id = ask("SELECT pg_catalog.nextval('evstore._projection_id')::integer");
	while (OidIsValid(get_namespace_oid(evs_projection_shadow(id), true)));
	return id;
}

/*
 * For a query, make the table that the rebuild fills, in its own schema, as it
 * is over no events: outside a batch that is what a query of a batch shows.
 * Returns the table. Call inside SPI.
 */
Oid
evs_rebuild_create_table(const EvsProjection *rebuild, const char *select)
{
	char	   *schema = evs_projection_shadow(rebuild->id);
	char	   *name = get_rel_name(rebuild->state_table);
	char	   *table = quote_qualified_identifier(schema, name);
	Oid			oid = evs_shadow_create_schema(schema, rebuild->owner);
	EvsOwnerFrame frame;

	evs_owner_begin(&frame, rebuild->owner, rebuild->settings);
	if (evs_bounds_execute_outside(psprintf("CREATE TABLE %s AS %s", table, select)) != SPI_OK_UTILITY)
		elog(ERROR, "could not create table %s", table);
	if (SPI_execute(psprintf(rebuild->keys[0] == '(' ? "CREATE UNIQUE INDEX ON %s (%s)" :
							 "ALTER TABLE %s ADD UNIQUE NULLS NOT DISTINCT (%s)", table, rebuild->keys),
					false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not give a key to table %s", table);
	evs_owner_end(&frame);
	return get_relname_relid(name, oid);
}

/*
 * A rebuild is applied as its projection is. Of an inline one, it passes no
 * event: there is nobody who would pass later ones of its stream. Call inside SPI.
 */
void
evs_rebuild_inherit(const EvsProjection *rebuild)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(rebuild->id)};

	evs_owner_run_extension("UPDATE evstore._projection n SET on_error = CASE p.mode WHEN 'inline' THEN 'stop' ELSE p.on_error END,"
							" retries = p.retries,"
							" timeout = p.timeout, priority = p.priority"
							" FROM evstore._projection p WHERE n.id = $1 AND p.id = n.rebuilds",
							lengthof(types), types, values, NULL, SPI_OK_UPDATE);
}

/* Keep everybody else out of the tables that a rebuild fills. */
void
evs_rebuild_lock_tables(const EvsProjection *rebuild)
{
	if (rebuild->kind == EVS_QUERY)
		LockRelationOid(rebuild->state_table, AccessExclusiveLock);
	else
		evs_shadow_lock(rebuild, AccessExclusiveLock);
}

/*
 * Give up the rebuild of a projection; false if there is none, or if it was put
 * in place, or given up, while we waited for its locks. A batch of it locks its
 * tables before its checkpoint, and so does this; the projection's checkpoint, if
 * it is to go as well, comes before the rebuild's, as for whoever pauses or
 * resumes both. Call inside SPI.
 */
bool
evs_rebuild_discard(int original, bool with_original)
{
	int			id = evs_rebuild_find(original);
	EvsProjection *rebuild = id == 0 ? NULL : evs_projection_load(id);

	if (rebuild == NULL)
		return false;
	evs_rebuild_lock_tables(rebuild);
	if (evs_rebuild_find(original) != id)
		return false;
	if (with_original)
		evs_checkpoint_lock_all(original);
	evs_projection_delete(rebuild);
	evs_shadow_drop(evs_projection_shadow(id));
	return true;
}

PG_FUNCTION_INFO_V1(evs_rebuild_projection);
PG_FUNCTION_INFO_V1(evs_cancel_rebuild);

/* evstore.rebuild_projection(name) */
Datum
evs_rebuild_projection(PG_FUNCTION_ARGS)
{
	EvsProjection *original;
	EvsProjection rebuild;

	SPI_connect();
	original = evs_rebuild_original(fcinfo, "evstore.rebuild_projection()");
	rebuild = *original;
	rebuild.id = evs_rebuild_prepare(original);
	rebuild.rebuilds = original->id;
	/* It is built as a whole, by one worker. */
	rebuild.shards = 1;
	rebuild.settings = original->stored_settings;
	if (rebuild.kind == EVS_QUERY)
	{
		evs_view_lock(original, AccessShareLock);
		evs_view_require(original);
		rebuild.batch_size = EVS_REBUILD_BATCH_SIZE;
		rebuild.read_table = rebuild.state_table = evs_rebuild_create_table(&rebuild, evs_view_initial(original));
		rebuild.read_tables = list_make1_oid(rebuild.read_table);
		evs_shadow_close_schema(evs_projection_shadow(rebuild.id), rebuild.owner);
	}
	else
	{
		(void) evs_shadow_create(original, evs_projection_shadow(rebuild.id));
		rebuild.read_table = rebuild.state_table = InvalidOid;
	}
	evs_projection_insert(&rebuild, NULL);
	evs_rebuild_inherit(&rebuild);
	SPI_finish();
	PG_RETURN_VOID();
}

/* evstore.cancel_rebuild(name) */
Datum
evs_cancel_rebuild(PG_FUNCTION_ARGS)
{
	int			id = evs_projection_own(fcinfo, "evstore.cancel_rebuild()");
	bool		found;

	SPI_connect();
	found = evs_rebuild_discard(id, false);
	SPI_finish();
	PG_RETURN_BOOL(found);
}
