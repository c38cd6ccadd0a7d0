/*
 * pick.c
 *		The aggregates first(value, position) and last(value, position).
 */
#include "evstore.h"

#include "fmgr.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* The value picked so far. */
typedef struct Pick
{
	EvsPosition position;
	Datum		value;
	bool		isnull;
	int16		length;			/* how to copy a value of its type */
	bool		by_value;
} Pick;

/* Make the state, at the first row that has a position. */
static Pick *
make_pick(FunctionCallInfo fcinfo, MemoryContext context)
{
	Pick	   *pick = MemoryContextAllocZero(context, sizeof(Pick));
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 1);

	if (!OidIsValid(type))
		elog(ERROR, "could not determine the type of the value");
	get_typlenbyval(type, &pick->length, &pick->by_value);
	pick->isnull = true;
	return pick;
}

/* Take the row's value if "better" says so. */
static Datum
step(FunctionCallInfo fcinfo, bool first)
{
	MemoryContext context;
	Pick	   *pick = PG_ARGISNULL(0) ? NULL : (Pick *) PG_GETARG_POINTER(0);
	bool		fresh = pick == NULL;
	EvsPosition position;
	MemoryContext caller;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (PG_ARGISNULL(2))
	{
		if (fresh)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(pick);
	}

	position = PG_GETARG_INT64(2);
	if (fresh)
		pick = make_pick(fcinfo, context);
	else if (first ? position >= pick->position : position <= pick->position)
		PG_RETURN_POINTER(pick);

	if (!pick->isnull && !pick->by_value)
		pfree(DatumGetPointer(pick->value));
	pick->position = position;
	pick->isnull = PG_ARGISNULL(1);
	caller = MemoryContextSwitchTo(context);
	pick->value = pick->isnull ? (Datum) 0 : datumCopy(PG_GETARG_DATUM(1), pick->by_value, pick->length);
	MemoryContextSwitchTo(caller);
	PG_RETURN_POINTER(pick);
}

PG_FUNCTION_INFO_V1(evs_first_step);
PG_FUNCTION_INFO_V1(evs_last_step);
PG_FUNCTION_INFO_V1(evs_pick_final);

/* evstore._first_step() */
Datum
evs_first_step(PG_FUNCTION_ARGS)
{
	return step(fcinfo, true);
}

/* evstore._last_step() */
Datum
evs_last_step(PG_FUNCTION_ARGS)
{
	return step(fcinfo, false);
}

/* evstore._pick_final() */
Datum
evs_pick_final(PG_FUNCTION_ARGS)
{
	Pick	   *pick = PG_ARGISNULL(0) ? NULL : (Pick *) PG_GETARG_POINTER(0);

	if (pick == NULL || pick->isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(pick->value);
}
