/*
 * fold.c
 *		An apply function in C, as an extension of a user's would bring it: adds
 *		the amount of each event to a total. The section "domain" loads it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(fold_in_c);

/* The event's columns, looked up once for all calls of a fold. */
static TupleDesc
event_columns(FmgrInfo *function, HeapTupleHeader event)
{
	if (function->fn_extra == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(function->fn_mcxt);

		function->fn_extra = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(event), HeapTupleHeaderGetTypMod(event));
		MemoryContextSwitchTo(caller);
	}
	return function->fn_extra;
}

/* fold_in_c(state numeric, e evstore.event) RETURNS numeric */
Datum
fold_in_c(PG_FUNCTION_ARGS)
{
	HeapTupleHeader event = PG_GETARG_HEAPTUPLEHEADER(1);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(event), .t_data = event};
	bool		isnull;
	Jsonb	   *data = DatumGetJsonbP(heap_getattr(&tuple, 8, event_columns(fcinfo->flinfo, event), &isnull));
	JsonbValue	room;
	JsonbValue *amount = getKeyJsonValueFromContainer(&data->root, "amount", 6, &room);

	if (amount == NULL || amount->type != jbvNumeric)
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	PG_RETURN_NUMERIC(numeric_add_opt_error(PG_GETARG_NUMERIC(0), amount->val.numeric, NULL));
}
