/*
 * verify.c
 *		Comparing read tables with what the events make of them.
 *
 * Checkpoint, read tables and events are read under one snapshot, taken for
 * this, in which they agree; nobody waits for it, and it waits for nobody.
 */
#include "evstore.h"

#include "base/owner.h"
#include "fmgr.h"
#include "funcapi.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/checkpoint.h"
#include "project/compare.h"
#include "project/recompute.h"
#include "project/verify.h"
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

/* Put the rows of a projection that differ, or of a sample of their keys, into "rows". Call inside SPI. */
void
evs_verify(EvsProjection *projection, double sample, Tuplestorestate *rows)
{
	List	   *tables = projection->kind == EVS_QUERY ? list_make1_oid(projection->state_table) : projection->read_tables;
	EvsPosition position;
	ListCell   *cell;

	/* What another transaction does to a table's columns, it has done before the snapshot or does after. */
	foreach(cell, tables)
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	/* An inline one stands beyond every position, and has applied what the snapshot sees. */
	if (evs_checkpoint_seen(projection->id, &position))
		evs_recompute(projection, position, tables, report_query, &sample, rows);
	PopActiveSnapshot();
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
