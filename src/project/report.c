/*
 * report.c
 *		What shared memory knows of projections, for the views that show it.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "fmgr.h"
#include "funcapi.h"
#include "project/progress.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(evs_projection_progress);
PG_FUNCTION_INFO_V1(evs_projection_stats);

/* evstore._projection_progress(projection) */
Datum
evs_projection_progress(PG_FUNCTION_ARGS)
{
	EvsProgressReport found = {0};
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	evs_shmem_require();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(evs_progress_report(PG_GETARG_INT32(0), &found));
	values[1] = Float8GetDatum(found.rate);
	values[2] = Int64GetDatum(found.position);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/* evstore._projection_stats() */
Datum
evs_projection_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	EvsProgressReport *found;
	int			count;

	evs_shmem_require();
	InitMaterializedSRF(fcinfo, 0);
	found = palloc_array(EvsProgressReport, evs_max_projections);
	count = evs_progress_report_all(found);
	for (int i = 0; i < count; i++)
	{
		const EvsProgressStats *stats = &found[i].stats;
		Datum		values[] = {
			Int32GetDatum(found[i].projection), Int64GetDatum(stats->batches), Int64GetDatum(stats->positions),
			Int64GetDatum(stats->failures), Float8GetDatum(stats->busy / (double) USECS_PER_SEC),
		};
		bool		nulls[lengthof(values)] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
