/*
 * catchup.c
 *		Applying a big batch of a query projection.
 *
 * A small batch is one statement, an upsert that selects from the projection's
 * view. When many events are to be read, two things of it cost too much: every
 * row calls the functions that know the bounds, and a statement that writes
 * cannot be parallel. So here the query runs first, by itself, into a
 * tuplestore, and the upsert reads that.
 *
 * Events that an INSERT has added between those of others are several ranges.
 * They, too, are one query here, over the list of their positions. So every row
 * of the read table is changed once, and all in the order of the key.
 */
#include "evstore.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "project/catchup.h"
#include "project/rows.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"

/*
 * Prepare the upsert, and plan it now: where it cannot work, as when the read
 * table's key is missing, no event need be read to find out.
 */
static SPIPlanPtr
prepare_upsert(const char *upsert)
{
	SPIPlanPtr	prepared = SPI_prepare(upsert, 0, NULL);

	if (prepared == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", upsert, SPI_result_code_string(SPI_result));
	ReleaseCachedPlan(SPI_plan_get_cached_plan(prepared), NULL);
	return prepared;
}

/*
 * Run "select" over the events of some ranges, and "upsert" over the rows it
 * returns, which that finds under the name EVS_CATCHUP_ROWS. Returns how many
 * rows were written. Call inside SPI.
 */
uint64
evs_catchup_apply(const char *select, const char *upsert, const EvsBounds *ranges, int count)
{
	PlannedStmt *plan = evs_rows_plan(select, ranges, count);
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	SPIPlanPtr	prepared;
	int			result;

	evs_rows_register(plan, rows, EVS_CATCHUP_ROWS);
	prepared = prepare_upsert(upsert);
	evs_rows_keep(plan, select, GetTransactionSnapshot(), rows, false);
	result = SPI_execute_plan(prepared, NULL, NULL, false, 0);
	if (result != SPI_OK_INSERT)
		elog(ERROR, "could not apply a batch: %s", SPI_result_code_string(result));
	SPI_freeplan(prepared);
	SPI_unregister_relation(EVS_CATCHUP_ROWS);
	tuplestore_end(rows);
	return SPI_processed;
}
