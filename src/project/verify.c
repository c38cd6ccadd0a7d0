/*
 * verify.c
 *		Comparing read tables with what the events make of them.
 *
 * Checkpoint, read tables and events are read under one snapshot, taken for
 * this, in which they agree; nobody waits for it, and it waits for nobody. The
 * definition is read before it. Where another has been put in place in between,
 * it is read again.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/compare.h"
#include "project/recompute.h"
#include "project/shards.h"
#include "project/verify.h"
#include "project/view.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* The query for the rows of a read table that differ. */
static char *
report_query(const EvsProjection *projection, Oid read_table, const char *expected, void *context)
{
	return evs_compare_report(evs_compare_describe(projection, read_table), expected, *(double *) context,
							  list_length(projection->read_tables) > 1);
}

/* Does the active snapshot see this definition, divided into shards like this? */
static bool
is_seen(const EvsProjection *projection)
{
	Oid			types[] = {INT4OID, TEXTOID, INT4OID};
	Datum		values[] = {Int32GetDatum(projection->id), CStringGetTextDatum(projection->definition),
	Int32GetDatum(projection->division)};
	EvsOwnerFrame frame;

	evs_owner_begin_extension(&frame);
	if (SPI_execute_with_args("SELECT FROM evstore._projection WHERE id = $1 AND definition = $2 AND division = $3",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read evstore._projection");
	evs_owner_end(&frame);
	return SPI_processed > 0;
}

/*
 * What is compared of a projection; from here on it keeps its columns, and its
 * view. They are locked in the order in which a batch locks them: a handler's
 * comes to the tables by the view, a query's to the view by the table.
 */
static List *
lock_tables(const EvsProjection *projection)
{
	bool		is_query = projection->kind == EVS_QUERY;
	List	   *tables = is_query ? list_make1_oid(projection->state_table) : projection->read_tables;
	ListCell   *cell;

	if (!is_query)
		evs_view_lock(projection, AccessShareLock);
	foreach(cell, tables)
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
	if (is_query)
		evs_view_lock(projection, AccessShareLock);
	return tables;
}

/* A projection, or all its shards, each where the active snapshot sees it stand; NIL if it is gone. */
static List *
read_standings(const EvsProjection *projection)
{
	List	   *standings = NIL;
	ListCell   *cell;

	foreach(cell, evs_shards_seen(projection->id))
	{
		const EvsShardSeen *seen = lfirst(cell);
		EvsStanding *standing = palloc_object(EvsStanding);

		standing->projection = palloc_object(EvsProjection);
		*standing->projection = *projection;
		standing->projection->id = seen->id;
		standing->projection->shard_of = seen->id == projection->id ? 0 : projection->id;
		standing->projection->shard = seen->shard;
		standing->projection->shards = seen->shards;
		/* An inline one stands beyond every position, and has applied what the snapshot sees. */
		standing->position = seen->position;
		standings = lappend(standings, standing);
	}
	return standings;
}

/* Put the rows of a projection that differ, or of a sample of their keys, into "rows". Call inside SPI. */
void
evs_verify(EvsProjection *projection, double sample, Tuplestorestate *rows)
{
	for (; projection; projection = evs_projection_load(projection->id))
	{
		List	   *tables = lock_tables(projection);
		List	   *standings;
		bool		seen;

		/* What another transaction does to a table's columns, it has done before the snapshot or does after. */
		PushActiveSnapshot(GetTransactionSnapshot());
		standings = read_standings(projection);
		seen = standings != NIL && is_seen(projection);
		if (seen)
			evs_recompute(standings, tables, report_query, &sample, rows);
		PopActiveSnapshot();
		if (seen || standings == NIL)
			return;
		if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("projection \"%s\" was changed after the snapshot of this transaction", projection->name),
					 errhint("Verify it in a new transaction.")));
	}
}

PG_FUNCTION_INFO_V1(evs_verify_projection);

/* evstore.verify_projection(name, sample) */
Datum
evs_verify_projection(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	double		sample = PG_GETARG_FLOAT8(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			id = evs_projection_find(name, NULL);
	EvsProjection *projection = NULL;

	if (!(sample > 0 && sample <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be greater than 0 and not greater than 1")));
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	if (id != 0)
		projection = evs_projection_load(id);
	if (projection == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("projection \"%s\" does not exist", name)));
	evs_recompute_check_caller(projection);
	evs_verify(projection, sample, result->setResult);
	SPI_finish();
	return (Datum) 0;
}
