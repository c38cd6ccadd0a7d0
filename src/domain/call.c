/*
 * call.c
 *		Calling the function that folds, once for each event.
 *
 * A function in SQL starts the executor anew at each call, which costs more than
 * most of them do. So it is called by an expression, as it would be in a query,
 * and the planner puts its body in its place where it can. All others are called
 * directly.
 *
 * The expression is made at the first event: then the aggregate's owner and
 * settings are in force, by which a body in text form is understood.
 */
#include "evstore.h"

#include "base/catalog.h"
#include "domain/call.h"
#include "executor/executor.h"
#include "executor/functions.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/params.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* The calls of one fold. */
struct EvsCall
{
	const EvsAggregate *aggregate;
	MemoryContext memory;		/* holds all of this */
	FmgrInfo	apply;
	FunctionCallInfo info;		/* of a function that is called directly */
	ExprState  *expression;		/* of one in SQL, once it is made */
	ExprContext *context;
	ParamListInfo params;		/* of the expression: state and event */
};

/* Prepare to call an aggregate's function, in the current memory context. */
EvsCall *
evs_call_begin(const EvsAggregate *aggregate)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "evstore call", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	EvsCall    *call = palloc0_object(EvsCall);

	call->aggregate = aggregate;
	call->memory = memory;
	fmgr_info(aggregate->apply, &call->apply);
	call->info = palloc0(SizeForFunctionCallInfo(2));
	InitFunctionCallInfoData(*call->info, &call->apply, 2, InvalidOid, NULL, NULL);
	MemoryContextSwitchTo(caller);
	return call;
}

/* Does the function leave a state alone that is null? */
bool
evs_call_is_strict(const EvsCall *call)
{
	return call->apply.fn_strict;
}

/* A parameter of the expression. */
static Param *
make_param(EvsCall *call, int number, Oid type)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = type;
	param->paramtypmod = -1;
	param->paramcollid = get_typcollation(type);
	param->location = -1;
	call->params->params[number - 1] = (ParamExternData) {.ptype = type};
	return param;
}

/* Make the expression: the function's call, or its body. */
static void
make_expression(EvsCall *call)
{
	MemoryContext caller = MemoryContextSwitchTo(call->memory);
	Oid			type = call->aggregate->state_type;
	FuncExpr   *function;

	call->params = makeParamList(2);
	function = makeFuncExpr(call->aggregate->apply, type,
							list_make2(make_param(call, 1, type), make_param(call, 2, evs_catalog()->event_type)),
							get_typcollation(type), InvalidOid, COERCE_EXPLICIT_CALL);
	call->context = CreateStandaloneExprContext();
	call->context->ecxt_param_list_info = call->params;
	call->expression = ExecInitExprWithParams(expression_planner((Expr *) function), call->params);
	MemoryContextSwitchTo(caller);
}

/* The state after an event, made in the current memory context; *isnull is that of the state before, and of the one after. */
Datum
evs_call_apply(EvsCall *call, Datum state, Datum event, bool *isnull)
{
	if (call->apply.fn_addr != fmgr_sql)
	{
		Datum		result;

		call->info->args[0] = (NullableDatum) {state, *isnull};
		call->info->args[1] = (NullableDatum) {event, false};
		call->info->isnull = false;
		result = FunctionCallInvoke(call->info);
		*isnull = call->info->isnull;
		return result;
	}
	if (call->expression == NULL)
		make_expression(call);
	ResetExprContext(call->context);
	call->params->params[0].value = state;
	call->params->params[0].isnull = *isnull;
	call->params->params[1].value = event;
	return ExecEvalExpr(call->expression, call->context, isnull);
}

/* The counterpart of evs_call_begin(). */
void
evs_call_end(EvsCall *call)
{
	if (call->context)
		FreeExprContext(call->context, true);
	MemoryContextDelete(call->memory);
}
