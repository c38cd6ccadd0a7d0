/*
 * conform.c
 *		Whether the data of an event are what its type says.
 *
 * What is declared for a version of an event type (shape.c) is asked before an
 * event of it is added, on every way into the table but that of a restore. A
 * check is its owner's code, and runs with its owner's rights, whoever appends;
 * it is not volatile, so by itself it can do nothing but look. If it calls what
 * appends, that is refused: where the event goes that is being checked, and
 * that a condition holds, is known by then.
 */
#include "evstore.h"

#include "base/call.h"
#include "base/called.h"
#include "base/errors.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "store/conform.h"
#include "store/fit.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* Is an event being checked? */
static bool checking = false;

/* Refuse to append for a check. */
void
evs_conform_require_unchecking(void)
{
	if (checking)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a check cannot append events"),
				 errdetail("It says whether data are valid, and does nothing else."),
				 errhint("Have an AFTER trigger of the event table append them.")));
}

/* Learn what an event type is checked by. */
static void
resolve(EvsEventType *type)
{
	bool		is_aggregate;
	Oid			result;

	if (evs_shape_is_resolved(&type->shape) ||
		(OidIsValid(type->row_type) && SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type->row_type))))
		return;
	type->shape.function = evs_called_in_view(psprintf("_check_%d", type->shape.id),
											  psprintf("the check of %s", evs_shape_name(&type->shape)),
											  &is_aggregate, &result);
	if (!OidIsValid(type->shape.function))
		type->row_type = result;
}

/* Refuse an event; "wrong" says what is wrong with its data. */
static void
refuse(const EvsEventType *type, const char *wrong)
{
	ereport(ERROR,
			(errcode(ERRCODE_EVS_INVALID_EVENT),
			 errmsg("the data are not valid for %s", evs_shape_name(&type->shape)),
			 errdetail_internal("%s", wrong)));
}

/* JSON as a function takes it, in jsonb or in json. */
static Datum
json_argument(Jsonb *json, Oid type)
{
	if (type == JSONBOID)
		return JsonbPGetDatum(json);
	return CStringGetTextDatum(JsonbToCString(NULL, &json->root, VARSIZE(json)));
}

/* The strings of an array, as lines; NULL if there is none. */
static char *
join(ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	StringInfoData lines;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	initStringInfo(&lines);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			appendStringInfo(&lines, "%s%s", lines.len > 0 ? "\n" : "", TextDatumGetCString(elements[i]));
	return lines.len > 0 ? lines.data : NULL;
}

/* Ask a function; what is wrong with the data, NULL if nothing is. */
static char *
ask(const EvsEventType *type, Jsonb *data)
{
	NullableDatum arguments[2];
	int			last = type->json_schema ? 1 : 0;
	Oid		   *types;
	int			count;
	EvsCall    *call;
	Datum		answer;
	bool		isnull;
	char	   *wrong;

	evs_called_check_may_call(type->shape.function, type->shape.owner);
	(void) get_func_signature(type->shape.function, &types, &count);
	if (type->json_schema)
		arguments[0] = (NullableDatum) {json_argument(type->json_schema, types[0]), false};
	arguments[last] = (NullableDatum) {json_argument(data, types[last]), false};
	call = evs_call_begin(type->shape.function);
	answer = evs_call(call, arguments, &isnull);
	if (get_func_rettype(type->shape.function) == TEXTARRAYOID)
		wrong = isnull ? NULL : join(DatumGetArrayTypeP(answer));
	else
		wrong = !isnull && DatumGetBool(answer) ? NULL :
			psprintf("Function %s is not true of them.", format_procedure(type->shape.function));
	evs_call_end(call);
	return wrong;
}

/* Says, in an error, where it is from. */
static void
check_context(void *arg)
{
	errcontext("check of %s", evs_shape_name(&((const EvsEventType *) arg)->shape));
}

/* What is wrong with data, by what their type says; NULL if nothing is. */
static char *
find_wrong(EvsEventType *type, Jsonb *data)
{
	bool		outer = checking;
	EvsOwnerFrame frame;
	char	   *wrong;

	checking = true;
	PG_TRY();
	{
		evs_owner_begin(&frame, type->shape.owner, type->shape.settings);
		wrong = OidIsValid(type->row_type) ? evs_fit(data, type->row_type) : ask(type, data);
		evs_owner_end(&frame);
	}
	PG_FINALLY();
	{
		checking = outer;
	}
	PG_END_TRY();
	return wrong;
}

/* Refuse data that are not what their type says. */
static void
check(EvsEventType *type, Jsonb *data)
{
	ErrorContextCallback context = {.previous = error_context_stack, .callback = check_context, .arg = type};
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "evstore check", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	char	   *wrong;

	resolve(type);
	evs_shape_check_owner(&type->shape, "check of");
	error_context_stack = &context;
	wrong = find_wrong(type, data);
	error_context_stack = context.previous;
	if (wrong)
		refuse(type, wrong);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
}

/*
 * Refuse a new event whose data are not what its type says. "version" is the
 * schema version that it is to have, 0 if it does not say; the answer is the
 * one that it gets. The versions of a type of which nothing is declared are the
 * application's own business.
 */
int
evs_conform(const EvsShapes *shapes, const text *type, int version, Jsonb *data)
{
	int			newest;
	EvsEventType *declared;

	if (shapes == NULL || !evs_shapes_know(shapes, type))
		return version == 0 ? EVS_FIRST_SCHEMA_VERSION : version;
	newest = evs_shapes_newest(shapes, type);
	if (version > newest)
		ereport(ERROR,
				(errcode(ERRCODE_EVS_NO_SCHEMA_VERSION),
				 errmsg("event type \"%s\" has no version %d", text_to_cstring(type), version),
				 errdetail("Its newest version is %d.", newest),
				 errhint("A version comes to be with the upcaster that leads to it: see evstore.create_upcaster().")));
	if (version == 0)
		version = evs_shapes_current(shapes, type);
	declared = evs_shapes_event_type(shapes, type, version);
	if (declared && declared->is_checked)
		check(declared, data);
	return version;
}
