/*
 * past.c
 *		Read tables as they were: evstore.projection_as_of().
 *
 * Nothing is kept of what a read table was. It is computed anew from the events
 * up to the position that is asked for, by what the projection is today.
 */
#include "evstore.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "project/batch.h"
#include "project/recompute.h"
#include "project/shard.h"
#include "project/shards.h"
#include "project/state.h"
#include "project/view.h"
#include "storage/lmgr.h"
#include "store/position.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(evs_projection_as_of);

/* The ids of projections that declare a read table. Call inside SPI. */
static List *
projections_of_table(Oid read_table)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(read_table)};
	List	   *ids = NIL;
	bool		isnull;

	evs_owner_run_extension("SELECT id FROM evstore._projection WHERE $1 = ANY (read_tables::oid[]) AND rebuilds IS NULL AND shard_of IS NULL",
		1, types, values, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
		ids = lappend_int(ids, DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
	return ids;
}

/* The projection whose read table has this row type. Call inside SPI. */
static EvsProjection *
find_projection(Oid read_table)
{
	List	   *ids = projections_of_table(read_table);

	if (ids == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is no read table of a projection", get_rel_name(read_table)),
				 errhint("Pass NULL as the row type of a read table, as in NULL::orders_by_region.")));
	if (list_length(ids) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is the read table of several projections", get_rel_name(read_table))));
	return evs_projection_load(linitial_int(ids));
}

/* The highest position, up to a limit, of an event that was recorded by a time: by bisection, as times rise with positions. */
static EvsPosition
position_at(Oid event_table, TimestampTz at, EvsPosition limit)
{
	EvsPosition before = 0;		/* recorded by then, or no event at all */
	EvsPosition after = limit + 1;	/* from here on, none was */

	while (after - before > 1)
	{
		EvsPosition middle = before + (after - before) / 2;
		TimestampTz recorded_at;
		EvsPosition next = evs_batch_next_event(event_table, middle - 1, &recorded_at);

		if (next == 0 || next >= after || recorded_at > at)
			after = middle;
		else
			before = next;
	}
	return before;
}

/*
 * The position that is asked for. It is not beyond what the active snapshot,
 * taken after the safe position was read, is known to see all events of; where
 * that is not known, or not of this snapshot, not beyond the checkpoint.
 */
static EvsPosition
asked_position(FunctionCallInfo fcinfo, const EvsProjection *projection, EvsPosition limit)
{
	if (PG_ARGISNULL(1) == PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("either position or at must be given, and not both")));
	if (!PG_ARGISNULL(2))
	{
		EvsPosition last = 0;
		ListCell   *cell;

		foreach(cell, projection->event_tables)
			last = Max(last, position_at(lfirst_oid(cell), PG_GETARG_TIMESTAMPTZ(2), limit));
		return last;
	}
	if (PG_GETARG_INT64(1) > limit)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position %lld has not come yet", (long long) PG_GETARG_INT64(1)),
				 errdetail("All events up to %lld are known.", (long long) limit)));
	return PG_GETARG_INT64(1);
}

/*
 * Where the active snapshot sees a projection stand, 0 if it is gone. It sees all
 * events that any of its shards has come to.
 */
static EvsPosition
farthest_seen(const EvsProjection *projection)
{
	EvsPosition position = 0;
	ListCell   *cell;

	foreach(cell, evs_shards_seen(projection->id))
		position = Max(position, ((EvsShardSeen *) lfirst(cell))->position);
	return position;
}

/* Does the relation that the rows are computed from have this column? */
static bool
has_column(const EvsProjection *projection, Form_pg_attribute attribute)
{
	Oid			view = projection->kind == EVS_QUERY ? evs_view_find(projection) : InvalidOid;
	AttrNumber	number;

	if (!OidIsValid(view))
		return true;
	number = get_attnum(view, NameStr(attribute->attname));
	if (number == InvalidAttrNumber)
		return false;
	if (get_atttype(view, number) != attribute->atttypid)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the read table has another type than the query gives",
						NameStr(attribute->attname))));
	return true;
}

/* A query of computed rows, laid out as a row type is; columns that are not computed are NULL. */
static char *
laid_out(const EvsProjection *projection, TupleDesc desc, const char *expected)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "SELECT");
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		appendStringInfoString(&out, i > 0 ? ", " : " ");
		if (attribute->attisdropped)
			appendStringInfoString(&out, "NULL::pg_catalog.int4");
		else if (has_column(projection, attribute))
			appendStringInfo(&out, "e.%s", quote_identifier(NameStr(attribute->attname)));
		else
			appendStringInfo(&out, "NULL::%s AS %s", format_type_be_qualified(attribute->atttypid),
							 quote_identifier(NameStr(attribute->attname)));
	}
	appendStringInfo(&out, " FROM %s e", expected);
	return out.data;
}

/* The query for the rows of a read table, or of the view that is the read table. */
static char *
rows_query(const EvsProjection *projection, Oid read_table, const char *expected, void *context)
{
	Relation	state;
	char	   *rows;

	if (projection->kind != EVS_QUERY || projection->state_table == projection->read_table)
		return laid_out(projection, context, expected);
	state = table_open(projection->state_table, AccessShareLock);
	rows = laid_out(projection, RelationGetDescr(state), expected);
	table_close(state, NoLock);
	return evs_state_view_of(read_table, projection->state_table, rows);
}

/* evstore.projection_as_of(row, position, at) */
Datum
evs_projection_as_of(PG_FUNCTION_ARGS)
{
	Oid			read_table = get_typ_typrelid(getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 0)));
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EvsProjection *projection;
	EvsStanding standing;
	bool		seen_only = RecoveryInProgress() || IsolationUsesXactSnapshot();
	EvsPosition limit;

	if (!OidIsValid(read_table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the first argument must have the row type of a read table"),
				 errhint("Pass NULL as the row type of a read table, as in NULL::orders_by_region.")));
	SPI_connect();
	projection = find_projection(read_table);
	evs_recompute_check_caller(projection);
	LockRelationOid(read_table, AccessShareLock);
	if (get_rel_name(read_table) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the read table of projection \"%s\" does not exist", projection->name)));
	evs_view_lock(projection, AccessShareLock);
	/* From here on the table has the columns that are asked for. */
	InitMaterializedSRF(fcinfo, 0);

	/* First the mark, then the snapshot: store/position.c. */
	limit = seen_only ? 0 : evs_position_safe();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (seen_only)
	{
		if (projection->is_inline)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the past of an inline projection is not known to this snapshot"),
					 errhint("Ask on the primary, at isolation level read committed.")));
		limit = farthest_seen(projection);
	}
	/* Of shards, all are computed up to one position: as the one shard of one. */
	evs_shard_check_hashes(projection);
	projection->settings = projection->stored_settings;
	projection->shard = 0;
	projection->shards = 1;
	standing = (EvsStanding) {projection, asked_position(fcinfo, projection, limit)};
	evs_recompute(list_make1(&standing), list_make1_oid(read_table), rows_query, result->setDesc, result->setResult);
	PopActiveSnapshot();
	SPI_finish();
	return (Datum) 0;
}
