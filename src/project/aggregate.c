/*
 * aggregate.c
 *		How the results of an aggregate over two batches become one.
 *
 * The log only grows, so a read table is kept right by combining, key by key,
 * what it holds with the aggregate over the next batch:
 *
 *	aggregate				kept beside it			combined by
 *	sum(x)					-						old + new
 *	avg(x)					_c_sum, _c_count		sums and counts; their quotient
 *	first(x, p), last(x, p)	_c_position				whichever position is lower, higher
 *	range_agg(x)			-						old + new
 *	array_agg and others	-						old before new, or after: see collect.c
 *	any with a combine		_c_state, unless the	its own combine function, the one that
 *	function				state is the result		parallel query uses: count, min, max,
 *													stddev, corr, user-defined ones ...
 *
 * Combine functions that can be called like any other are called so. The rest
 * are made to believe that they are part of an aggregation: see partial.c.
 *
 * Anything else is refused, by name.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/catalog.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parse_agg.h"
#include "parser/parser.h"
#include "project/aggregate.h"
#include "project/collect.h"
#include "project/inner.h"
#include "project/seal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* "old.column" or "excluded.column". */
static char *
side(const char *which, const char *column)
{
	return psprintf("%s.%s", which, quote_identifier(column));
}

/* Add "column = expression" to the SET list. */
static void
set_column(List **combinations, const char *column, const char *expression)
{
	*combinations = lappend(*combinations, psprintf("%s = %s", quote_identifier(column), expression));
}

/* Two partial results by a combination that is for two values: where one is NULL, the other. */
static char *
combine_strict(const char *column, const char *combination)
{
	char	   *old = side(EVS_OLD, column);
	char	   *new = side(EVS_NEW, column);

	return psprintf("CASE WHEN %s IS NULL THEN %s WHEN %s IS NULL THEN %s ELSE %s END",
					old, new, new, old, combination);
}

/* The sum of two partial sums or counts. */
static char *
combine_sums(const char *column)
{
	return combine_strict(column, psprintf("%s OPERATOR(pg_catalog.+) %s",
										   side(EVS_OLD, column), side(EVS_NEW, column)));
}

/* Name of an auxiliary column. */
static char *
auxiliary_name(const char *column, const char *what)
{
	char	   *name = psprintf("_%s_%s", column, what);

	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("column name \"%s\" is too long", column),
				 errdetail("Beside it stands a column named \"%s\".", name)));
	return name;
}

/* A column that calls "function" over one expression, under the filter of "call". */
static char *
add_auxiliary(List **auxiliary, const char *column, const char *what,
			  const char *function, Node *argument, const FuncCall *call)
{
	char	   *name = auxiliary_name(column, what);
	FuncCall   *made = makeFuncCall(list_make2(makeString("pg_catalog"), makeString(pstrdup(function))),
									list_make1(argument), COERCE_EXPLICIT_CALL, -1);
	ResTarget  *target = makeNode(ResTarget);

	made->agg_filter = copyObject(call->agg_filter);
	target->name = name;
	target->val = (Node *) made;
	target->location = -1;
	*auxiliary = lappend(*auxiliary, target);
	return name;
}

/* The type in which the sum behind an average is kept exactly, NULL if we know none. */
static const char *
average_sum_type(Oid argument)
{
	switch (argument)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
			return "numeric";
		case FLOAT4OID:
		case FLOAT8OID:
			return "float8";
		case INTERVALOID:
			return "interval";
		default:
			return NULL;
	}
}

/* avg(x): the sum and the count are kept, the average is their quotient. */
static void
compile_average(const char *column, const char *sum_type, const FuncCall *call,
				List **auxiliary, List **combinations)
{
	Node	   *argument = linitial(call->args);
	TypeCast   *cast = makeNode(TypeCast);
	char	   *sum;
	char	   *count;
	char	   *new_sum;
	char	   *new_count;

	cast->arg = copyObject(argument);
	cast->typeName = makeTypeNameFromNameList(list_make2(makeString("pg_catalog"),
														 makeString(pstrdup(sum_type))));
	cast->location = -1;
	sum = add_auxiliary(auxiliary, column, "sum", "sum", (Node *) cast, call);
	count = add_auxiliary(auxiliary, column, "count", "count", copyObject(argument), call);

	new_sum = combine_sums(sum);
	new_count = combine_sums(count);
	set_column(combinations, sum, new_sum);
	set_column(combinations, count, new_count);
	set_column(combinations, column,
			   psprintf("(%s) OPERATOR(pg_catalog./) NULLIF(%s, 0)", new_sum, new_count));
}

/* first(x, position), last(x, position): the position decides. */
static void
compile_pick(const char *column, bool first, const FuncCall *call,
			 List **auxiliary, List **combinations)
{
	char	   *position = add_auxiliary(auxiliary, column, "position", first ? "min" : "max",
										 copyObject(lsecond(call->args)), call);
	char	   *old = side(EVS_OLD, position);
	char	   *new = side(EVS_NEW, position);

	set_column(combinations, column,
			   psprintf("CASE WHEN %s IS NULL OR %s OPERATOR(pg_catalog.%s) %s THEN %s ELSE %s END",
						old, new, first ? "<" : ">", old, side(EVS_NEW, column), side(EVS_OLD, column)));
	set_column(combinations, position,
			   psprintf("%s(%s, %s)", first ? "LEAST" : "GREATEST", old, new));
}

/* The language that a function is written in. */
static Oid
get_func_language(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			language;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	language = ((Form_pg_proc) GETSTRUCT(tuple))->prolang;
	ReleaseSysCache(tuple);
	return language;
}

/* Does a function take two values of exactly this type? */
static bool
takes_two_of(Oid function, Oid type)
{
	Oid		   *types;
	int			count;

	(void) get_func_signature(function, &types, &count);
	return count == 2 && types[0] == type && types[1] == type;
}

/*
 * Can a combine function be called as an ordinary one? Some built-in ones insist
 * on being part of an aggregate, and so may any that is written in C. The call is
 * kept by name: one for types of many kinds could be taken over, by whoever may
 * make another beside it, for exactly these.
 */
static bool
is_callable(const Aggref *aggregate, Oid combine)
{
	static const char *const built_in[] = {
		"count", "min", "max", "bool_and", "bool_or", "every", "bit_and", "bit_or", "bit_xor", "regr_count",
	};

	if (get_func_namespace(aggregate->aggfnoid) != PG_CATALOG_NAMESPACE)
	{
		Oid			language = get_func_language(combine);

		return language != ClanguageId && language != INTERNALlanguageId &&
			takes_two_of(combine, aggregate->aggtype);
	}
	for (int i = 0; i < lengthof(built_in); i++)
		if (strcmp(get_func_name(aggregate->aggfnoid), built_in[i]) == 0)
			return true;
	return false;
}

/* An aggregate whose result is its state, by a combine function that anybody can call. */
static bool
compile_by_function(const char *column, const Aggref *aggregate, List **combinations)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate->aggfnoid));
	Form_pg_aggregate form;
	Oid			combine;
	bool		possible;
	char	   *combination;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggregate->aggfnoid);
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	combine = form->aggcombinefn;
	possible = OidIsValid(combine) && !OidIsValid(form->aggfinalfn) &&
		form->aggtranstype != INTERNALOID;
	ReleaseSysCache(tuple);
	if (!possible || !is_callable(aggregate, combine))
		return false;

	combination = psprintf("%s(%s, %s)",
						   quote_qualified_identifier(get_namespace_name(get_func_namespace(combine)),
													  get_func_name(combine)),
						   side(EVS_OLD, column), side(EVS_NEW, column));
	set_column(combinations, column,
			   func_strict(combine) ? combine_strict(column, combination) : combination);
	return true;
}

/* The name of a collation as a literal of type regcollation. */
static char *
collation_name(Oid collation)
{
	HeapTuple	tuple;
	Form_pg_collation form;
	char	   *name;

	if (!OidIsValid(collation))
		return "-";
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	name = quote_qualified_identifier(get_namespace_name(form->collnamespace), NameStr(form->collname));
	ReleaseSysCache(tuple);
	return name;
}

/* A constant of a type, NULL if "value" is. */
static Node *
constant(const char *value, Oid type)
{
	A_Const    *bare = makeNode(A_Const);
	TypeCast   *cast = makeNode(TypeCast);

	bare->isnull = value == NULL;
	if (value)
	{
		bare->val.sval.type = T_String;
		bare->val.sval.sval = pstrdup(value);
	}
	bare->location = -1;
	cast->arg = (Node *) bare;
	cast->typeName = makeTypeNameFromOid(type, -1);
	cast->location = -1;
	return (Node *) cast;
}

/* A NULL that tells the type and collation of an aggregate's result. */
static Node *
result_example(const Aggref *aggregate)
{
	Node	   *example = constant(NULL, aggregate->aggtype);
	CollateClause *collate;

	if (!OidIsValid(aggregate->aggcollid))
		return example;
	collate = makeNode(CollateClause);
	collate->arg = example;
	collate->collname = EVS_QUALIFIED_NAME(collation_name(aggregate->aggcollid));
	collate->location = -1;
	return (Node *) collate;
}

/* A call of one of our functions, on an aggregate and its collation. */
static FuncCall *
call_ours(const char *function, const Aggref *aggregate, List *arguments)
{
	arguments = lcons(constant(collation_name(aggregate->inputcollid), REGCOLLATIONOID), arguments);
	arguments = lcons(constant(format_procedure_qualified(aggregate->aggfnoid), REGPROCEDUREOID), arguments);
	return makeFuncCall(list_make2(makeString(EVS_EXTENSION), makeString(pstrdup(function))),
						arguments, COERCE_EXPLICIT_CALL, -1);
}

/* The call that computes the state of an aggregate over a batch. */
static FuncCall *
call_partial(const Aggref *aggregate, const FuncCall *call, Oid stored_type)
{
	List	   *arguments = list_make1(constant(NULL, stored_type));
	FuncCall   *partial;
	ListCell   *cell;
	ListCell   *type;

	forboth(cell, call->args, type, aggregate->aggargtypes)
	{
		TypeCast   *cast = makeNode(TypeCast);

		/* The aggregate was chosen for its arguments, and they are coerced to it. */
		cast->arg = copyObject(lfirst(cell));
		cast->typeName = makeTypeNameFromOid(lfirst_oid(type), -1);
		cast->location = -1;
		arguments = lappend(arguments, cast);
	}
	if (aggregate->aggargtypes == NIL)
		arguments = lappend(arguments, constant(NULL, BOOLOID));
	partial = call_ours(func_parallel(aggregate->aggfnoid) == PROPARALLEL_SAFE ? "_partial" : "_partial_unsafe",
						aggregate, arguments);
	partial->agg_filter = copyObject(call->agg_filter);
	return partial;
}

/*
 * Refuse an aggregate that the caller may not run, here and not in a worker,
 * and one that does not combine as it promises.
 */
static void
check_promise(const Aggref *aggregate)
{
	Oid			function = aggregate->aggfnoid;
	Oid			types[FUNC_MAX_ARGS];
	int			count = get_aggregate_argtypes(unconstify(Aggref *, aggregate), types);
	Oid			state_type;
	EvsInner   *inner;

	if (!evs_inner_possible(function))
		return;
	state_type = evs_inner_state_type(function, count, types);
	inner = evs_inner_open(function, aggregate->inputcollid, evs_inner_stored_type(function, state_type), count, types);
	if (!evs_inner_is_neutral(inner))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot maintain aggregate %s", format_procedure(function)),
				 errdetail("Its initial state combined with itself is another: it would count once for every batch."),
				 errhint("Give it an initial state that adds nothing.")));
}

/* Any aggregate with a combine function, by way of its state. */
static bool
compile_by_state(const char *column, const Aggref *aggregate, ResTarget *target,
				 List **auxiliary, List **combinations)
{
	Oid			function = aggregate->aggfnoid;
	char	   *which = psprintf("%s::pg_catalog.regprocedure, %s::pg_catalog.regcollation",
								 quote_literal_cstr(format_procedure_qualified(function)),
								 quote_literal_cstr(collation_name(aggregate->inputcollid)));
	const char *kept = column;
	Oid			types[FUNC_MAX_ARGS];
	int			count = get_aggregate_argtypes(unconstify(Aggref *, aggregate), types);
	Oid			stored_type;
	char	   *combination;

	if (!evs_inner_possible(function))
		return false;
	stored_type = evs_inner_stored_type(function, evs_inner_state_type(function, count, types));
	if (evs_inner_has_final(function))
		kept = auxiliary_name(column, "state");
	combination = psprintf(EVS_EXTENSION "._combine(%s, %s, %s)", which, side(EVS_OLD, kept), side(EVS_NEW, kept));
	set_column(combinations, kept, combination);

	if (kept != column)
	{
		FuncCall   *partial = call_partial(aggregate, castNode(FuncCall, target->val), stored_type);
		ResTarget  *state = makeNode(ResTarget);

		state->name = unconstify(char *, kept);
		state->val = (Node *) partial;
		state->location = -1;
		*auxiliary = lappend(*auxiliary, state);
		/* The result is computed from the state, which so is computed once. */
		target->val = (Node *) call_ours("_final", aggregate,
										 list_make2(copyObject(partial), result_example(aggregate)));
		set_column(combinations, column,
				   psprintf(EVS_EXTENSION "._final(%s, %s, NULL::%s)", which, combination,
							format_type_be_qualified(aggregate->aggtype)));
		evs_seal_prepare();
	}
	return true;
}

/*
 * A query without keys has a row even where it finds no event. How many it has
 * found stands beside it, so that a batch without any need not write the row.
 */
void
evs_aggregate_count_events(List **auxiliary, List **combinations)
{
	FuncCall   *count = makeFuncCall(SystemFuncName("count"), NIL, COERCE_EXPLICIT_CALL, -1);
	ResTarget  *target = makeNode(ResTarget);

	count->agg_star = true;
	target->name = EVS_EVENTS;
	target->val = (Node *) count;
	target->location = -1;
	*auxiliary = lappend(*auxiliary, target);
	set_column(combinations, EVS_EVENTS, combine_sums(EVS_EVENTS));
}

/* Refuse a form of aggregate call that no two results can be combined of. */
static void
check_call(const Aggref *aggregate)
{
	const char *what = NULL;

	if (aggregate->aggdistinct != NIL)
		what = "DISTINCT aggregates";
	else if (aggregate->aggkind != AGGKIND_NORMAL)
		what = "ordered-set aggregates";
	else if (aggregate->aggorder != NIL && !evs_collect_is_collector(aggregate))
		what = "ORDER BY in aggregates";
	if (what)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot maintain %s", what),
				 errdetail("Results over two batches do not combine into the result over both."),
				 errhint("Keep what you need in a statement projection.")));
}

/*
 * Compile one aggregate of the select list: "target" as it was written,
 * "aggregate" as the server understood it, "position" the column of that name of
 * the events. Auxiliary columns are added to the select list as ResTargets, and
 * what to do on conflict to the SET list.
 */
void
evs_aggregate_compile(const char *column, const Aggref *aggregate, const Var *position, ResTarget *target,
					  List **auxiliary, List **combinations)
{
	FuncCall   *call = castNode(FuncCall, target->val);
	const char *name = get_func_name(aggregate->aggfnoid);
	Oid			schema = get_func_namespace(aggregate->aggfnoid);
	bool		built_in = schema == PG_CATALOG_NAMESPACE;
	bool		ours = schema == evs_catalog()->schema;

	check_call(aggregate);
	check_promise(aggregate);

	if (ours && strcmp(name, "first") == 0)
		compile_pick(column, true, call, auxiliary, combinations);
	else if (ours && strcmp(name, "last") == 0)
		compile_pick(column, false, call, auxiliary, combinations);
	else if (built_in && strcmp(name, "avg") == 0 &&
			 average_sum_type(linitial_oid(aggregate->aggargtypes)))
		compile_average(column, average_sum_type(linitial_oid(aggregate->aggargtypes)),
						call, auxiliary, combinations);
	else if (built_in && (strcmp(name, "sum") == 0 || strcmp(name, "range_agg") == 0))
		set_column(combinations, column, combine_sums(column));
	else if (evs_collect_is_collector(aggregate))
		set_column(combinations, column,
				   combine_strict(column, evs_collect_compile(column, aggregate, position, target,
															  side(EVS_OLD, column), side(EVS_NEW, column))));
	else if (!compile_by_function(column, aggregate, combinations) &&
			 !compile_by_state(column, aggregate, target, auxiliary, combinations))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot maintain aggregate %s", format_procedure(aggregate->aggfnoid)),
				 errdetail("Its results over two batches do not combine into the result over both."),
				 errhint("Keep what you need in a statement projection.")));
}
