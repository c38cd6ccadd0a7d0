/*
 * call.c
 *		Calling a function of a user's many times.
 *
 * A function in SQL starts the executor anew at each call, which costs more than
 * most of them do. So it is called by an expression, as it would be in a query,
 * and the planner puts its body in its place where it can. All others are called
 * directly. A function that returns a set is none for us.
 *
 * The expression is made at the first call: then the owner and the settings are
 * in force by which a body in text form is understood.
 */
#include "evstore.h"

#include "base/call.h"
#include "executor/executor.h"
#include "executor/functions.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/params.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* A function, ready to be called. */
struct EvsCall
{
	MemoryContext memory;		/* holds all of this */
	FmgrInfo	function;
	int			count;			/* of its arguments */
	Oid		   *types;
	FunctionCallInfo info;		/* of a function that is called directly */
	ExprState  *expression;		/* of one in SQL, once it is made */
	ExprContext *context;
	ParamListInfo params;		/* of the expression */
};

/* Prepare to call a function, in the current memory context. */
EvsCall *
evs_call_begin(Oid function)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "evstore call", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	EvsCall    *call = palloc0_object(EvsCall);

	call->memory = memory;
	fmgr_info(function, &call->function);
	(void) get_func_signature(function, &call->types, &call->count);
	call->info = palloc0(SizeForFunctionCallInfo(call->count));
	InitFunctionCallInfoData(*call->info, &call->function, call->count, InvalidOid, NULL, NULL);
	MemoryContextSwitchTo(caller);
	return call;
}

/* Is the function not to be called with a null among its arguments? */
bool
evs_call_is_strict(const EvsCall *call)
{
	return call->function.fn_strict;
}

/* A parameter of the expression. */
static Param *
make_param(EvsCall *call, int number)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = call->types[number - 1];
	param->paramtypmod = -1;
	param->paramcollid = get_typcollation(param->paramtype);
	param->location = -1;
	call->params->params[number - 1] = (ParamExternData) {.ptype = param->paramtype};
	return param;
}

/* Make the expression: the function's call, or its body. */
static void
make_expression(EvsCall *call)
{
	MemoryContext caller = MemoryContextSwitchTo(call->memory);
	Oid			result = get_func_rettype(call->function.fn_oid);
	List	   *arguments = NIL;
	FuncExpr   *function;

	call->params = makeParamList(call->count);
	for (int i = 1; i <= call->count; i++)
		arguments = lappend(arguments, make_param(call, i));
	function = makeFuncExpr(call->function.fn_oid, result, arguments, get_typcollation(result), InvalidOid,
							COERCE_EXPLICIT_CALL);
	call->context = CreateStandaloneExprContext();
	call->context->ecxt_param_list_info = call->params;
	call->expression = ExecInitExprWithParams(expression_planner((Expr *) function), call->params);
	MemoryContextSwitchTo(caller);
}

/* Call the function; the result, and *isnull, is made in the current memory context. */
Datum
evs_call(EvsCall *call, const NullableDatum *arguments, bool *isnull)
{
	if (call->function.fn_addr != fmgr_sql)
	{
		Datum		result;

		memcpy(call->info->args, arguments, call->count * sizeof(NullableDatum));
		call->info->isnull = false;
		result = FunctionCallInvoke(call->info);
		*isnull = call->info->isnull;
		return result;
	}
	if (call->expression == NULL)
		make_expression(call);
	ResetExprContext(call->context);
	for (int i = 0; i < call->count; i++)
	{
		call->params->params[i].value = arguments[i].value;
		call->params->params[i].isnull = arguments[i].isnull;
	}
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
