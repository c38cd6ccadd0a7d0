/*
 * partial.c
 *		Aggregates in two halves, with the read table in between.
 *
 *	evstore._partial(aggregate, collation, stored type, arguments)	the state after a batch
 *	evstore._combine(aggregate, collation, state, state)			two states as one
 *	evstore._final(aggregate, collation, state, result type)		the result of a state
 *
 * The aggregate is named by a regprocedure and its collation by a regcollation:
 * where these are text, as in an ON CONFLICT clause or a dump, they are names.
 * The two types are told by a value of them, mostly NULL.
 */
#include "evstore.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "parser/parse_coerce.h"
#include "project/inner.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"

/* What comes before the inner aggregate's arguments: our own state, the aggregate, collation and stored type. */
#define OWN_ARGUMENTS 4

/* The state of evstore._partial() for one group. */
typedef struct Partial
{
	EvsInner   *inner;
	NullableDatum state;
	bool		untouched;		/* no row has been taken */
} Partial;

/* What goes before the state of a group from one process to another. */
typedef struct Sent
{
	Oid			aggregate;
	Oid			collation;
	Oid			stored_type;
} Sent;

/* A place in a statement where states are combined or finished. */
typedef struct Place
{
	EvsInner   *inner;
	AggState   *pose;
	int16		length;			/* how to copy what it returns */
	bool		by_value;
} Place;

PG_FUNCTION_INFO_V1(evs_partial_step);
PG_FUNCTION_INFO_V1(evs_partial_final);
PG_FUNCTION_INFO_V1(evs_partial_merge);
PG_FUNCTION_INFO_V1(evs_partial_send);
PG_FUNCTION_INFO_V1(evs_partial_receive);
PG_FUNCTION_INFO_V1(evs_combine);
PG_FUNCTION_INFO_V1(evs_final);

/* Refuse to go on with another aggregate than at the first call. */
static void
check_same(const EvsInner *inner, Oid aggregate, Oid collation)
{
	if (inner->aggregate != aggregate || inner->collation != collation)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the aggregate must be the same for all rows")));
}

/* The inner aggregate of evstore._partial(), opened at the first row of a statement. */
static EvsInner *
partial_inner(FunctionCallInfo fcinfo)
{
	EvsInner   *inner = fcinfo->flinfo->fn_extra;
	Oid			aggregate = PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1);
	Oid			collation = PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2);
	int			count = PG_NARGS() - OWN_ARGUMENTS;
	Oid			types[FUNC_MAX_ARGS];
	MemoryContext caller;

	if (inner)
	{
		check_same(inner, aggregate, collation);
		return inner;
	}
	if (get_fn_expr_variadic(fcinfo->flinfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot pass an array as the arguments of an aggregate")));
	for (int i = 0; i < count; i++)
		types[i] = get_fn_expr_argtype(fcinfo->flinfo, OWN_ARGUMENTS + i);
	caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	inner = evs_inner_open(aggregate, collation, get_fn_expr_argtype(fcinfo->flinfo, 3), count, types);
	MemoryContextSwitchTo(caller);
	fcinfo->flinfo->fn_extra = inner;
	return inner;
}

/* Is a state an expanded object that may be changed in place? */
static bool
is_expanded(const EvsInner *inner, Datum state)
{
	return inner->length == -1 && VARATT_IS_EXTERNAL_EXPANDED_RW(DatumGetPointer(state));
}

/* Keep a state for the rows to come, in the memory of its group. */
static void
keep(Partial *partial, NullableDatum state, MemoryContext context)
{
	EvsInner   *inner = partial->inner;
	NullableDatum old = partial->state;
	MemoryContext caller = MemoryContextSwitchTo(context);

	partial->state = state;
	if (!inner->by_value && state.value != old.value)
	{
		/* An expanded object that was made here may stay. */
		if (!state.isnull &&
			!(is_expanded(inner, state.value) &&
			  MemoryContextGetParent(DatumGetEOHP(state.value)->eoh_context) == context))
			partial->state.value = datumCopy(state.value, false, inner->length);
		if (!old.isnull && is_expanded(inner, old.value))
			DeleteExpandedObject(old.value);
		else if (!old.isnull)
			pfree(DatumGetPointer(old.value));
	}
	MemoryContextSwitchTo(caller);
}

/* The state of a group before its first row. */
static Partial *
begin_group(EvsInner *inner, MemoryContext context)
{
	Partial    *partial = MemoryContextAllocZero(context, sizeof(Partial));

	partial->inner = inner;
	partial->untouched = true;
	partial->state.isnull = true;
	keep(partial, inner->initial, context);
	return partial;
}

/* evstore._partial_step(state, aggregate, collation, stored_type, arguments) */
Datum
evs_partial_step(PG_FUNCTION_ARGS)
{
	EvsInner   *inner = partial_inner(fcinfo);
	Partial    *partial = PG_ARGISNULL(0) ? NULL : (Partial *) PG_GETARG_POINTER(0);
	MemoryContext context;
	NullableDatum arguments[FUNC_MAX_ARGS + 1];

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (partial == NULL)
		partial = begin_group(inner, context);
	arguments[0] = partial->state;
	memcpy(arguments + 1, fcinfo->args + OWN_ARGUMENTS, inner->count * sizeof(NullableDatum));
	keep(partial, evs_inner_advance(inner, fcinfo->context, arguments, &partial->untouched), context);
	PG_RETURN_POINTER(partial);
}

/* evstore._partial_final(state, ...): NULL if there was no row */
Datum
evs_partial_final(PG_FUNCTION_ARGS)
{
	Partial    *partial = PG_ARGISNULL(0) ? NULL : (Partial *) PG_GETARG_POINTER(0);
	NullableDatum stored;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (partial == NULL)
		PG_RETURN_NULL();
	stored = evs_inner_store(partial->inner, fcinfo->context, partial->state);
	if (stored.isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(stored.value);
}

/*
 * evstore._partial_merge(state, state): of two processes that share a scan, for
 * one group.
 */
Datum
evs_partial_merge(PG_FUNCTION_ARGS)
{
	Partial    *partial = PG_ARGISNULL(0) ? NULL : (Partial *) PG_GETARG_POINTER(0);
	Partial    *more = PG_ARGISNULL(1) ? NULL : (Partial *) PG_GETARG_POINTER(1);
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (more == NULL)
	{
		if (partial == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(partial);
	}
	if (partial == NULL)
		partial = begin_group(more->inner, context);
	keep(partial, evs_inner_combine(partial->inner, fcinfo->context, partial->state, more->state), context);
	PG_RETURN_POINTER(partial);
}

/* evstore._partial_send(state): from one process to another */
Datum
evs_partial_send(PG_FUNCTION_ARGS)
{
	Partial    *partial = (Partial *) PG_GETARG_POINTER(0);
	EvsInner   *inner = partial->inner;
	NullableDatum state = partial->state;
	bool		as_bytes = inner->state_type == INTERNALOID && !state.isnull;
	int16		length = as_bytes ? -1 : inner->length;
	bool		by_value = !as_bytes && inner->by_value;
	Sent		sent = {
		.aggregate = inner->aggregate,
		.collation = inner->collation,
		.stored_type = evs_inner_stored_type(inner->aggregate, inner->state_type),
	};
	bytea	   *bytes;
	char	   *end;

	if (as_bytes)
		state = evs_inner_serialize(inner, fcinfo->context, state);
	bytes = palloc(VARHDRSZ + sizeof(Sent) + datumEstimateSpace(state.value, state.isnull, by_value, length));
	memcpy(VARDATA(bytes), &sent, sizeof(Sent));
	end = VARDATA(bytes) + sizeof(Sent);
	datumSerialize(state.value, state.isnull, by_value, length, &end);
	SET_VARSIZE(bytes, end - (char *) bytes);
	PG_RETURN_BYTEA_P(bytes);
}

/* evstore._partial_receive(bytes, internal) */
Datum
evs_partial_receive(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	char	   *content = VARDATA_ANY(bytes);
	Partial    *partial = palloc0_object(Partial);
	EvsInner   *inner = fcinfo->flinfo->fn_extra;
	Sent		sent;

	memcpy(&sent, content, sizeof(Sent));
	content += sizeof(Sent);
	if (inner == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		inner = evs_inner_open(sent.aggregate, sent.collation, sent.stored_type, 0, NULL);
		MemoryContextSwitchTo(caller);
		fcinfo->flinfo->fn_extra = inner;
	}
	check_same(inner, sent.aggregate, sent.collation);
	partial->inner = inner;
	partial->state.value = datumRestore(&content, &partial->state.isnull);
	if (inner->state_type == INTERNALOID && !partial->state.isnull)
		partial->state = evs_inner_deserialize(inner, fcinfo->context, partial->state.value);
	PG_RETURN_POINTER(partial);
}

/* The place of a call outside of aggregates. */
static Place *
find_place(FunctionCallInfo fcinfo)
{
	Place	   *place = fcinfo->flinfo->fn_extra;
	Oid			aggregate = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	Oid			collation = PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1);
	MemoryContext caller;

	if (place)
	{
		check_same(place->inner, aggregate, collation);
		return place;
	}
	caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	place = palloc0_object(Place);
	place->inner = evs_inner_open(aggregate, collation, get_fn_expr_argtype(fcinfo->flinfo, 2), 0, NULL);
	place->pose = evs_inner_pose();
	get_typlenbyval(get_fn_expr_rettype(fcinfo->flinfo), &place->length, &place->by_value);
	MemoryContextSwitchTo(caller);
	fcinfo->flinfo->fn_extra = place;
	return place;
}

/* Return a value to the memory that the caller of a place expects it in, and let go of all else. */
static Datum
finish(FunctionCallInfo fcinfo, Place *place, MemoryContext caller, NullableDatum value)
{
	MemoryContextSwitchTo(caller);
	fcinfo->isnull = value.isnull;
	if (!value.isnull)
		value.value = datumCopy(value.value, place->by_value, place->length);
	ReScanExprContext(place->pose->curaggcontext);
	return value.isnull ? (Datum) 0 : value.value;
}

/* evstore._combine(aggregate, collation, state, state) */
Datum
evs_combine(PG_FUNCTION_ARGS)
{
	Place	   *place = find_place(fcinfo);
	EvsInner   *inner = place->inner;
	Node	   *pose = (Node *) place->pose;
	MemoryContext caller = MemoryContextSwitchTo(place->pose->curaggcontext->ecxt_per_tuple_memory);
	NullableDatum state;

	state = evs_inner_combine(inner, pose, evs_inner_load(inner, pose, fcinfo->args[2]),
							  evs_inner_load(inner, pose, fcinfo->args[3]));
	return finish(fcinfo, place, caller, evs_inner_store(inner, pose, state));
}

/* evstore._final(aggregate, collation, state, result_type) */
Datum
evs_final(PG_FUNCTION_ARGS)
{
	Place	   *place = find_place(fcinfo);
	EvsInner   *inner = place->inner;
	Node	   *pose = (Node *) place->pose;
	MemoryContext caller = MemoryContextSwitchTo(place->pose->curaggcontext->ecxt_per_tuple_memory);

	if (!IsBinaryCoercible(inner->result_type, get_fn_expr_rettype(fcinfo->flinfo)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the result of aggregate %s is not of type %s", format_procedure(inner->aggregate),
						format_type_be(get_fn_expr_rettype(fcinfo->flinfo)))));
	return finish(fcinfo, place, caller,
				  evs_inner_final(inner, pose, evs_inner_load(inner, pose, fcinfo->args[2])));
}
