/*
 * inner.c
 *		Running an aggregate's own functions, piece by piece.
 *
 * Where the executor runs an aggregate, it goes from the first row to the
 * result. Here it is run from the first row of a batch to a state, from two
 * states to one, and from a state to the result, as parallel query does it,
 * but with a table in between.
 *
 * An aggregate's functions may insist on being called by an aggregation, and
 * keep their states in its memory. Inside one of our own aggregates, that is
 * the executor's; in an ordinary expression, one that we pose.
 *
 * Rights are those that the executor asks for: the caller's to the aggregate,
 * the aggregate's owner's to its functions. Types are checked here, since these
 * functions can be called by anybody, and with anything.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_agg.h"
#include "parser/parse_coerce.h"
#include "project/inner.h"
#include "project/seal.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* An aggregate's row of pg_aggregate. */
static HeapTuple
find_aggregate(Oid aggregate)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %u is not an aggregate", aggregate)));
	return tuple;
}

/* Is any of an aggregate's arguments polymorphic? */
static bool
is_polymorphic(Oid aggregate)
{
	Oid		   *types;
	int			count;

	(void) get_func_signature(aggregate, &types, &count);
	for (int i = 0; i < count; i++)
		if (IsPolymorphicType(types[i]))
			return true;
	return false;
}

/* Can states of an aggregate be stored, and combined? */
bool
evs_inner_possible(Oid aggregate)
{
	HeapTuple	tuple = find_aggregate(aggregate);
	Form_pg_aggregate form = (Form_pg_aggregate) GETSTRUCT(tuple);
	bool		possible = form->aggkind == AGGKIND_NORMAL && OidIsValid(form->aggcombinefn) &&
		!OidIsValid(get_func_variadictype(aggregate));

	/* A stored state has no arguments any more that would say what its types are. */
	if (form->aggfinalextra && is_polymorphic(aggregate))
		possible = false;
	if (form->aggtranstype == INTERNALOID &&
		!(OidIsValid(form->aggserialfn) && OidIsValid(form->aggdeserialfn) && OidIsValid(form->aggfinalfn)))
		possible = false;
	ReleaseSysCache(tuple);
	return possible;
}

/* The type of an aggregate's state, when it is given arguments of these types. */
Oid
evs_inner_state_type(Oid aggregate, int count, const Oid *types)
{
	HeapTuple	tuple = find_aggregate(aggregate);
	Oid			type = ((Form_pg_aggregate) GETSTRUCT(tuple))->aggtranstype;

	ReleaseSysCache(tuple);
	return resolve_aggregate_transtype(aggregate, type, unconstify(Oid *, types), count);
}

/* Has an aggregate a final function, so that its result is not its state? */
bool
evs_inner_has_final(Oid aggregate)
{
	HeapTuple	tuple = find_aggregate(aggregate);
	bool		answer = OidIsValid(((Form_pg_aggregate) GETSTRUCT(tuple))->aggfinalfn);

	ReleaseSysCache(tuple);
	return answer;
}

/*
 * The type that states of an aggregate are stored in: sealed bytes, or their
 * own type. PostgreSQL's own states, too, where users never see them, mean what
 * they mean in one major version.
 */
Oid
evs_inner_stored_type(Oid aggregate, Oid state_type)
{
	if (state_type == INTERNALOID ||
		(get_func_namespace(aggregate) == PG_CATALOG_NAMESPACE && evs_inner_has_final(aggregate)))
		return BYTEAOID;
	return state_type;
}

/* Make one of the functions ready. */
static void
prepare_function(FmgrInfo *info, Oid function, Oid role, ObjectType kind, Expr *expression)
{
	AclResult	result = EVS_FUNCTION_ACLCHECK(function, role, ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, kind, get_func_name(function));
	InvokeFunctionExecuteHook(function);
	if (info == NULL)
		return;
	fmgr_info(function, info);
	fmgr_info_set_expr((Node *) expression, info);
}

/* The state before the first row. */
static NullableDatum
initial_state(HeapTuple tuple, Oid state_type)
{
	NullableDatum initial;
	Datum		written = SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, &initial.isnull);
	Oid			input;
	Oid			parameter;

	initial.value = (Datum) 0;
	if (!initial.isnull)
	{
		getTypeInputInfo(state_type, &input, &parameter);
		initial.value = OidInputFunctionCall(input, TextDatumGetCString(written), parameter, -1);
	}
	return initial;
}

/* The type of the result. */
static Oid
result_type(Oid aggregate, Oid final, Oid state_type)
{
	Oid			type = get_func_rettype(aggregate);
	Oid		   *types;
	int			count;

	if (!IsPolymorphicType(type))
		return type;
	if (!OidIsValid(final))
		return state_type;
	type = get_func_signature(final, &types, &count);
	return enforce_generic_type_consistency(&state_type, types, 1, type, false);
}

/* Refuse arguments that the aggregate does not take. */
static void
check_arguments(Oid aggregate, int count, const Oid *types)
{
	Oid		   *declared;
	int			declared_count;
	Oid			result = get_func_signature(aggregate, &declared, &declared_count);
	bool		fits = count == declared_count;

	for (int i = 0; i < count && fits; i++)
		fits = IsPolymorphicType(declared[i]) || IsBinaryCoercible(types[i], declared[i]);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("aggregate %s does not take these arguments", format_procedure(aggregate))));
	(void) enforce_generic_type_consistency(types, declared, count, result, false);
}

/* Make an aggregate's functions ready; its transition if the types of its arguments are given. */
static void
prepare_functions(EvsInner *inner, Form_pg_aggregate form, Oid owner, const Oid *types)
{
	Oid		   *declared;
	Expr	   *expression;

	(void) get_func_signature(inner->aggregate, &declared, &inner->count);
	prepare_function(NULL, inner->aggregate, GetUserId(), OBJECT_AGGREGATE, NULL);
	if (types)
	{
		build_aggregate_transfn_expr(unconstify(Oid *, types), inner->count, 0, false, inner->state_type,
									 inner->collation, form->aggtransfn, InvalidOid, &expression, NULL);
		prepare_function(&inner->transition, form->aggtransfn, owner, OBJECT_FUNCTION, expression);
	}
	build_aggregate_transfn_expr(&inner->state_type, 1, 0, false, inner->state_type,
								 inner->collation, form->aggcombinefn, InvalidOid, &expression, NULL);
	prepare_function(&inner->combine, form->aggcombinefn, owner, OBJECT_FUNCTION, expression);
	if (inner->state_type == INTERNALOID)
	{
		build_aggregate_serialfn_expr(form->aggserialfn, &expression);
		prepare_function(&inner->serialize, form->aggserialfn, owner, OBJECT_FUNCTION, expression);
		build_aggregate_deserialfn_expr(form->aggdeserialfn, &expression);
		prepare_function(&inner->deserialize, form->aggdeserialfn, owner, OBJECT_FUNCTION, expression);
	}
	if (OidIsValid(form->aggfinalfn))
	{
		inner->final_count = form->aggfinalextra ? inner->count + 1 : 1;
		build_aggregate_finalfn_expr(declared, inner->final_count, inner->state_type, inner->result_type,
									 inner->collation, form->aggfinalfn, &expression);
		prepare_function(&inner->final, form->aggfinalfn, owner, OBJECT_FUNCTION, expression);
	}
}

/*
 * Open an aggregate in the current memory context, which must outlive its use.
 * "stored_type" is what its state is said to be stored in. The types of its
 * arguments are needed for evs_inner_advance() only, and may be NULL.
 */
EvsInner *
evs_inner_open(Oid aggregate, Oid collation, Oid stored_type, int count, const Oid *types)
{
	EvsInner   *inner = palloc0_object(EvsInner);
	HeapTuple	tuple = find_aggregate(aggregate);
	Form_pg_aggregate form = (Form_pg_aggregate) GETSTRUCT(tuple);
	HeapTuple	function = SearchSysCache1(PROCOID, ObjectIdGetDatum(aggregate));

	if (!HeapTupleIsValid(function))
		elog(ERROR, "cache lookup failed for function %u", aggregate);
	if (!evs_inner_possible(aggregate))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("states of aggregate %s cannot be stored", format_procedure(aggregate))));
	/* An aggregate of no arguments, such as f(*), is given one that it does not look at. */
	if (get_func_nargs(aggregate) == 0)
		count = 0;
	if (types)
		check_arguments(aggregate, count, types);

	inner->aggregate = aggregate;
	inner->name = format_procedure_qualified(aggregate);
	inner->collation = collation;
	inner->state_type = form->aggtranstype;
	if (IsPolymorphicType(inner->state_type) && types)
		inner->state_type = evs_inner_state_type(aggregate, count, types);
	else if (IsPolymorphicType(inner->state_type))
		inner->state_type = enforce_generic_type_consistency(&stored_type, &inner->state_type, 1,
															 inner->state_type, false);
	inner->sealed = evs_inner_stored_type(aggregate, inner->state_type) != inner->state_type;
	if (stored_type != evs_inner_stored_type(aggregate, inner->state_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the state of aggregate %s is not stored as %s", format_procedure(aggregate),
						format_type_be(stored_type))));
	get_typlenbyval(inner->state_type, &inner->length, &inner->by_value);
	inner->initial = initial_state(tuple, inner->state_type);
	inner->result_type = result_type(aggregate, form->aggfinalfn, inner->state_type);
	prepare_functions(inner, form, ((Form_pg_proc) GETSTRUCT(function))->proowner, types);
	ReleaseSysCache(function);
	ReleaseSysCache(tuple);
	return inner;
}

/* Something that aggregate functions take for the executor's aggregation, in the current memory context. */
AggState *
evs_inner_pose(void)
{
	AggState   *pose = makeNode(AggState);

	pose->curaggcontext = pose->tmpcontext = CreateStandaloneExprContext();
	return pose;
}

/* Call a function of the aggregate. */
static NullableDatum
call(FmgrInfo *function, Oid collation, Node *aggregation, int count, const NullableDatum *arguments)
{
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	NullableDatum result;

	InitFunctionCallInfoData(*fcinfo, function, count, collation, aggregation, NULL);
	memcpy(fcinfo->args, arguments, count * sizeof(NullableDatum));
	result.value = FunctionCallInvoke(fcinfo);
	result.isnull = fcinfo->isnull;
	return result;
}

static const NullableDatum null_datum = {.isnull = true};

/* Is any of some arguments null? */
static bool
any_null(const NullableDatum *arguments, int count)
{
	for (int i = 0; i < count; i++)
		if (arguments[i].isnull)
			return true;
	return false;
}

/*
 * The state after one more row: "arguments" are the state and then the row's.
 * "untouched" says that no row has been taken yet.
 */
NullableDatum
evs_inner_advance(EvsInner *inner, Node *aggregation, const NullableDatum *arguments, bool *untouched)
{
	NullableDatum state = arguments[0];

	if (inner->transition.fn_strict)
	{
		if (any_null(arguments + 1, inner->count))
			return state;
		/* As for max(x): without an initial state, the first value is it. */
		if (*untouched && state.isnull)
		{
			*untouched = false;
			return arguments[1];
		}
		if (state.isnull)
			return state;
	}
	*untouched = false;
	return call(&inner->transition, inner->collation, aggregation, inner->count + 1, arguments);
}

/*
 * Two states as one. May change, and keep, the first. A state in memory that is
 * null has no bytes, so the executor never combines with one either; of two
 * such, not every combine function makes a null again.
 */
NullableDatum
evs_inner_combine(EvsInner *inner, Node *aggregation, NullableDatum a, NullableDatum b)
{
	NullableDatum arguments[] = {a, b};

	if (inner->combine.fn_strict && (a.isnull || b.isnull))
		return a.isnull ? b : a;
	if (inner->state_type == INTERNALOID && b.isnull)
		return a;
	return call(&inner->combine, inner->collation, aggregation, 2, arguments);
}

/*
 * Does the initial state add nothing when it is combined? Every batch begins
 * with it. (A sum that begins with 10 would count 10 for every batch.)
 */
bool
evs_inner_is_neutral(EvsInner *inner)
{
	Node	   *pose = (Node *) evs_inner_pose();
	NullableDatum initial = inner->initial;
	NullableDatum twice;

	if (initial.isnull)
		return true;
	if (!inner->by_value)
		initial.value = datumCopy(initial.value, false, inner->length);
	twice = evs_inner_combine(inner, pose, initial, inner->initial);
	return !twice.isnull && datum_image_eq(twice.value, inner->initial.value, inner->by_value, inner->length);
}

/* The result. */
NullableDatum
evs_inner_final(EvsInner *inner, Node *aggregation, NullableDatum state)
{
	NullableDatum arguments[FUNC_MAX_ARGS + 1];

	if (inner->final_count == 0)
		return state;
	if (inner->final.fn_strict && (state.isnull || inner->final_count > 1))
		return null_datum;
	arguments[0] = state;
	for (int i = 1; i < inner->final_count; i++)
		arguments[i] = null_datum;
	return call(&inner->final, inner->collation, aggregation, inner->final_count, arguments);
}

/* An internal state as bytes. */
NullableDatum
evs_inner_serialize(EvsInner *inner, Node *aggregation, NullableDatum state)
{
	return call(&inner->serialize, InvalidOid, aggregation, 1, &state);
}

/* The internal state that was made bytes of. */
NullableDatum
evs_inner_deserialize(EvsInner *inner, Node *aggregation, Datum bytes)
{
	/* The second argument is there for its type only. */
	NullableDatum arguments[2] = {{.value = bytes}};

	return call(&inner->deserialize, InvalidOid, aggregation, 2, arguments);
}

/*
 * What is stored of a state. NULL stands for the state before the first row,
 * which may be another.
 */
NullableDatum
evs_inner_store(EvsInner *inner, Node *aggregation, NullableDatum state)
{
	NullableDatum stored = state;
	Oid			output;
	bool		is_varlena;

	if (state.isnull && !inner->initial.isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the state of aggregate %s has become null", inner->name),
				 errdetail("Such a state cannot be told from that of no rows.")));
	if (state.isnull || !inner->sealed)
		return state;
	if (inner->state_type == INTERNALOID)
		stored = evs_inner_serialize(inner, aggregation, state);
	else
	{
		getTypeBinaryOutputInfo(inner->state_type, &output, &is_varlena);
		stored.value = PointerGetDatum(OidSendFunctionCall(output, state.value));
	}
	if (!stored.isnull)
		stored.value = PointerGetDatum(evs_seal_close(inner->name, DatumGetByteaPP(stored.value)));
	return stored;
}

/* The state that was stored, in memory that may be changed. */
NullableDatum
evs_inner_load(EvsInner *inner, Node *aggregation, NullableDatum stored)
{
	NullableDatum state = stored;
	bytea	   *content;

	if (stored.isnull)
		state = inner->initial;
	if (state.isnull)
		return state;
	if (!inner->sealed || stored.isnull)
	{
		state.value = datumCopy(state.value, inner->by_value, inner->length);
		return state;
	}
	content = evs_seal_open(inner->name, DatumGetByteaPP(stored.value));
	if (inner->state_type == INTERNALOID)
		return evs_inner_deserialize(inner, aggregation, PointerGetDatum(content));
	else
	{
		StringInfoData bytes;
		Oid			input;
		Oid			parameter;

		initStringInfo(&bytes);
		appendBinaryStringInfo(&bytes, VARDATA(content), VARSIZE(content) - VARHDRSZ);
		getTypeBinaryInputInfo(inner->state_type, &input, &parameter);
		state.value = OidReceiveFunctionCall(input, &bytes, parameter, -1);
		return state;
	}
}
