/*
 * collect.c
 *		Aggregates that collect values in the order of positions.
 *
 * The events of a batch lie above those of all batches before. So a list that
 * is in the order of positions goes on with the list of the next batch, and one
 * in the opposite order begins with it. What further ORDER BY says does not
 * matter here: rows of one event are in one batch.
 *
 * Such a value grows with the log, and is written anew whenever it grows. So
 * there is a bound, and an error beyond it.
 */
#include "evstore.h"

#include "access/detoast.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "project/check.h"
#include "project/collect.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

/* The most bytes that a collected value may have. */
#define MAX_COLLECTED (1024 * 1024)

/* An aggregate that collects, and how two results of it are put together. */
typedef struct Collector
{
	const char *name;
	const char *concatenate;	/* NULL if they cannot be */
} Collector;

static const Collector collectors[] = {
	{"array_agg", "pg_catalog.array_cat"},
	{"string_agg", "pg_catalog.textcat"},
	{"jsonb_agg", "pg_catalog.jsonb_concat"},
	{"jsonb_agg_strict", "pg_catalog.jsonb_concat"},
	{"jsonb_object_agg", "pg_catalog.jsonb_concat"},
	{"json_agg", NULL},
	{"json_agg_strict", NULL},
	{"json_object_agg", NULL},
	{"xmlagg", NULL},
};

/* The collector that an aggregate is, NULL if it is none. */
static const Collector *
find_collector(const Aggref *aggregate)
{
	if (get_func_namespace(aggregate->aggfnoid) != PG_CATALOG_NAMESPACE)
		return NULL;
	for (int i = 0; i < lengthof(collectors); i++)
		if (strcmp(get_func_name(aggregate->aggfnoid), collectors[i].name) == 0)
			return &collectors[i];
	return NULL;
}

/* Does an aggregate collect values? */
bool
evs_collect_is_collector(const Aggref *aggregate)
{
	return find_collector(aggregate) != NULL;
}

/* Refuse an order that batches do not follow each other in. Says whether it is from the highest position down. */
static bool
check_order(const Aggref *aggregate, const Var *position)
{
	const char *name = get_func_name(aggregate->aggfnoid);
	SortGroupClause *first;
	TargetEntry *entry = NULL;
	ListCell   *cell;
	bool		backwards;

	if (aggregate->aggorder == NIL)
		evs_check_refuse(psprintf("%s without an order", name),
						 "Write ORDER BY position inside the call.");
	first = linitial_node(SortGroupClause, aggregate->aggorder);
	foreach(cell, aggregate->args)
		if (lfirst_node(TargetEntry, cell)->ressortgroupref == first->tleSortGroupRef)
			entry = lfirst_node(TargetEntry, cell);
	backwards = first->sortop == get_commutator(Int8LessOperator);
	if (entry == NULL || !IsA(entry->expr, Var) ||
		((Var *) entry->expr)->varno != position->varno ||
		((Var *) entry->expr)->varattno != position->varattno ||
		!(backwards || first->sortop == Int8LessOperator))
		evs_check_refuse(psprintf("%s in another order than that of positions", name),
						 "Batches follow each other by position: begin with ORDER BY position.");
	return backwards;
}

/* The delimiter of string_agg() as a literal, NULL if there is none. */
static char *
delimiter(const Aggref *aggregate)
{
	Expr	   *expression = lsecond_node(TargetEntry, aggregate->args)->expr;
	Const	   *value = (Const *) eval_const_expressions(NULL, (Node *) expression);
	Oid			output;
	bool		is_varlena;

	if (!IsA(value, Const))
		evs_check_refuse("string_agg with a delimiter that is not constant",
						 "Give it a literal, and put what varies into the value.");
	if (value->constisnull)
		return NULL;
	getTypeOutputInfo(value->consttype, &output, &is_varlena);
	return psprintf("%s::%s", quote_literal_cstr(OidOutputFunctionCall(output, value->constvalue)),
					format_type_be(value->consttype));
}

/* An expression that puts two results of string_agg() together. */
static char *
concatenate_strings(const Aggref *aggregate, const char *left, const char *right)
{
	char	   *between = delimiter(aggregate);
	const char *concatenate = aggregate->aggtype == BYTEAOID ? "pg_catalog.byteacat" : "pg_catalog.textcat";

	if (between)
		left = psprintf("%s(%s, %s)", concatenate, left, between);
	return psprintf("%s(%s, %s)", concatenate, left, right);
}

/*
 * Compile an aggregate that collects: an expression that puts what it has
 * collected, "old", and what it collects in a batch, "new", together. Neither
 * is NULL.
 */
char *
evs_collect_compile(const char *column, const Aggref *aggregate, const Var *position, ResTarget *target,
					const char *old, const char *new)
{
	const Collector *collector = find_collector(aggregate);
	bool		backwards;
	A_Const    *name = makeNode(A_Const);

	if (collector->concatenate == NULL)
		evs_check_refuse(psprintf("aggregate %s", format_procedure(aggregate->aggfnoid)),
						 "Two of its results cannot be put together; jsonb_agg() and jsonb_object_agg() can be maintained.");
	backwards = check_order(aggregate, position);

	/* One batch alone may go beyond the bound. */
	name->val.sval.type = T_String;
	name->val.sval.sval = pstrdup(column);
	name->location = -1;
	target->val = (Node *) makeFuncCall(list_make2(makeString(EVS_EXTENSION), makeString("_bounded")),
										list_make2(target->val, name), COERCE_EXPLICIT_CALL, -1);
	if (backwards)
	{
		const char *swap = old;

		old = new;
		new = swap;
	}
	return psprintf(EVS_EXTENSION "._bounded(%s, %s)",
					strcmp(collector->name, "string_agg") == 0 ? concatenate_strings(aggregate, old, new) :
					psprintf("%s(%s, %s)", collector->concatenate, old, new),
					quote_literal_cstr(column));
}

PG_FUNCTION_INFO_V1(evs_bounded);

/* evstore._bounded(value, column) */
Datum
evs_bounded(PG_FUNCTION_ARGS)
{
	Size		size;

	/* What is collected is an array, text, bytea or jsonb. */
	if (get_typlen(get_fn_expr_argtype(fcinfo->flinfo, 0)) != -1)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("only a value of variable length can be collected")));
	size = toast_raw_datum_size(PG_GETARG_DATUM(0));
	if (size > MAX_COLLECTED)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a value of column \"%s\" has grown too long", text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 errdetail("It has %zu bytes; what an aggregate collects may have %d.", size, MAX_COLLECTED),
				 errhint("Group by more keys, collect less, or keep rows in a statement projection.")));
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}
