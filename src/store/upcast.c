/*
 * upcast.c
 *		Making events of the newest shape out of older ones.
 *
 * The table keeps what was written. Who reads events by evstore reads a view
 * over the table (project/source.c), and the view calls the functions of this
 * file for each of them:
 *
 *	_upcast_data()	where upcasters make data of data only: for the column data
 *	_upcast()		where some make events of events: for the whole event, which
 *					may become one of another type, or several, or none
 *
 * An upcaster is its owner's code, and runs with its owner's rights and
 * search_path, whoever reads. It is not volatile: whatever it is asked about one
 * event, and whenever, it says the same.
 *
 * What is declared is looked up once a query, and all calls in the query share
 * it. It must not be freed before the query ends, so the table stays entered
 * until the transaction does. Where a query asks for the data of an event several
 * times, as one with several aggregates does, they are made once: the last ones
 * are kept.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "base/call.h"
#include "base/called.h"
#include "base/catalog.h"
#include "base/errors.h"
#include "base/owner.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "store/table.h"
#include "store/upcast.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* The upcasting of a query. */
typedef struct Upcasting
{
	Oid			event_table;
	const EvsShapes *shapes;	/* NULL: there is nothing to be done */
	EvsCall   **calls;			/* of its upcasters; NULL until one is called */
	FmgrInfo   *sets;			/* the same of those that return sets; without a function until then */
	TupleDesc	event;			/* evstore.event */
	EvsPosition made_position;	/* of the event whose data were made last, or 0 */
	Datum		made_data;		/* these, in a context of their own */
	MemoryContext made_context;
	MemoryContext context;		/* of the query */
	MemoryContextCallback gone;	/* forgets it with the query */
} Upcasting;

/* The upcasting that was begun last, if its query has not ended: for the next call in that query. */
static Upcasting *latest = NULL;

/* An event on its way. */
typedef struct Event
{
	Datum		values[EVS_COLUMN_COUNT];
	bool		nulls[EVS_COLUMN_COUNT];
} Event;

/* Learn which function an upcaster is, and of which kind. */
void
evs_upcaster_resolve(EvsUpcaster *upcaster)
{
	EvsShape   *shape = &upcaster->shape;
	bool		is_aggregate;
	Oid			result;

	if (evs_shape_is_resolved(shape))
		return;
	shape->function = evs_called_in_view(psprintf("_upcaster_%d", shape->id),
										 psprintf("the upcaster from %s", evs_shape_name(shape)),
										 &is_aggregate, &result);
	upcaster->takes_event = result == evs_catalog()->event_type;
	upcaster->returns_set = get_func_retset(shape->function);
}

/* Is the function of an upcaster still there? Somebody may have dropped it by force. */
bool
evs_upcaster_has_function(const EvsUpcaster *upcaster)
{
	return OidIsValid(get_relname_relid(psprintf("_upcaster_%d", upcaster->shape.id), evs_catalog()->schema));
}

/* All that we know of what decides about the newest shapes, as text. */
char *
evs_upcast_describe(const EvsShapes *shapes)
{
	StringInfoData description;

	initStringInfo(&description);
	for (int i = 0; shapes && i < shapes->upcaster_count; i++)
	{
		EvsUpcaster *upcaster = &shapes->upcasters[i];

		evs_upcaster_resolve(upcaster);
		appendStringInfo(&description, "%s\n%s\n", evs_shape_name(&upcaster->shape),
						 TextDatumGetCString(DirectFunctionCall1(pg_get_functiondef,
																 ObjectIdGetDatum(upcaster->shape.function))));
	}
	return description.data;
}

/* A query has ended. */
static void
forget(void *upcasting)
{
	if (latest == upcasting)
		latest = NULL;
}

/* Begin to upcast events of a table, for as long as the query runs that calls us. */
static Upcasting *
begin(FunctionCallInfo fcinfo, Oid event_table)
{
	MemoryContext context = fcinfo->flinfo->fn_mcxt;
	MemoryContext caller = MemoryContextSwitchTo(context);
	Upcasting  *upcasting = palloc0_object(Upcasting);
	Relation	rel;
	const EvsTable *table = evs_table_open(event_table, AccessShareLock, &rel);

	/* What upcasters know may be more than the caller: at least the events must be the caller's to read. */
	if (pg_attribute_aclcheck_all(event_table, GetUserId(), ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK &&
		pg_class_aclcheck(event_table, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(rel));
	upcasting->event_table = event_table;
	upcasting->shapes = table->shapes;
	if (upcasting->shapes)
	{
		upcasting->calls = palloc0_array(EvsCall *, upcasting->shapes->upcaster_count);
		upcasting->sets = palloc0_array(FmgrInfo, upcasting->shapes->upcaster_count);
	}
	upcasting->event = lookup_rowtype_tupdesc_copy(evs_catalog()->event_type, -1);
	upcasting->made_context = AllocSetContextCreate(context, "evstore upcast data", ALLOCSET_SMALL_SIZES);
	upcasting->context = context;
	table_close(rel, NoLock);
	MemoryContextSwitchTo(caller);
	upcasting->gone.func = forget;
	upcasting->gone.arg = upcasting;
	MemoryContextRegisterResetCallback(context, &upcasting->gone);
	latest = upcasting;
	return upcasting;
}

/* The upcasting that the first argument is about. */
static Upcasting *
find_upcasting(FunctionCallInfo fcinfo)
{
	Upcasting  *upcasting = fcinfo->flinfo->fn_extra;
	Oid			event_table = PG_GETARG_OID(0);

	if (upcasting && upcasting->event_table == event_table)
		return upcasting;
	upcasting = latest && latest->context == fcinfo->flinfo->fn_mcxt && latest->event_table == event_table ?
		latest : begin(fcinfo, event_table);
	fcinfo->flinfo->fn_extra = upcasting;
	return upcasting;
}

/* The upcaster of a shape, NULL if it is the newest. */
static EvsUpcaster *
find_upcaster(const Upcasting *upcasting, const text *type, int version)
{
	return upcasting->shapes ? evs_shapes_upcaster(upcasting->shapes, type, version) : NULL;
}

/* Says, in an error, where it is from. */
static void
upcast_context(void *arg)
{
	const EvsUpcaster *upcaster = arg;

	errcontext("upcaster from %s", evs_shape_name(&upcaster->shape));
}

/* Get ready to call an upcaster, once a query. */
static void
prepare(Upcasting *upcasting, EvsUpcaster *upcaster)
{
	int			number = upcaster - upcasting->shapes->upcasters;
	MemoryContext caller;

	if (upcasting->calls[number] || OidIsValid(upcasting->sets[number].fn_oid))
		return;
	evs_upcaster_resolve(upcaster);
	evs_shape_check_owner(&upcaster->shape, "upcaster from");
	evs_called_check_may_call(upcaster->shape.function, upcaster->shape.owner);
	caller = MemoryContextSwitchTo(upcasting->context);
	if (upcaster->returns_set)
		fmgr_info(upcaster->shape.function, &upcasting->sets[number]);
	else
		upcasting->calls[number] = evs_call_begin(upcaster->shape.function);
	MemoryContextSwitchTo(caller);
}

/* Call an upcaster that returns one value, or null. The caller has made its owner the current user. */
static Datum
call_for_value(Upcasting *upcasting, EvsUpcaster *upcaster, Datum argument, bool *isnull)
{
	const NullableDatum arguments[] = {{argument, false}};

	return evs_call(upcasting->calls[upcaster - upcasting->shapes->upcasters], arguments, isnull);
}

/*
 * The next element of the set that an upcaster returns, or all of them: "set"
 * tells. Likewise.
 */
static Datum
call_for_set(Upcasting *upcasting, EvsUpcaster *upcaster, Datum argument, ReturnSetInfo *set, bool *isnull)
{
	FmgrInfo   *function = &upcasting->sets[upcaster - upcasting->shapes->upcasters];
	LOCAL_FCINFO(info, 1);
	Datum		result;

	InitFunctionCallInfoData(*info, function, 1, InvalidOid, NULL, (fmNodePtr) set);
	info->args[0] = (NullableDatum) {argument, false};
	result = FunctionCallInvoke(info);
	*isnull = info->isnull;
	return result;
}

/* Call an upcaster as its owner; "set" is NULL for one that returns one value. *isnull says whether the result is null. */
static Datum
call(Upcasting *upcasting, EvsUpcaster *upcaster, Datum argument, ReturnSetInfo *set, bool *isnull)
{
	ErrorContextCallback context = {
		.previous = error_context_stack, .callback = upcast_context, .arg = upcaster,
	};
	EvsOwnerFrame frame;
	Datum		result;

	prepare(upcasting, upcaster);
	error_context_stack = &context;
	evs_owner_begin(&frame, upcaster->shape.owner, upcaster->shape.settings);
	result = set ? call_for_set(upcasting, upcaster, argument, set, isnull) :
		call_for_value(upcasting, upcaster, argument, isnull);
	evs_owner_end(&frame);
	error_context_stack = context.previous;
	return result;
}

/* Refuse what an upcaster has returned. */
static void
refuse(const EvsUpcaster *upcaster, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_EVS_UPCASTER),
			 errmsg("the upcaster from %s has not returned a newer shape", evs_shape_name(&upcaster->shape)),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}

/* The data of the next version. */
static Datum
upcast_data(Upcasting *upcasting, EvsUpcaster *upcaster, Datum data)
{
	bool		isnull;
	Datum		result = call(upcasting, upcaster, data, NULL, &isnull);

	if (isnull)
		refuse(upcaster, "It returned null.",
			   "An upcaster that takes an evstore.event may return none, and so leave the event out.");
	return result;
}

/* Refuse an upcaster that takes events where there are data alone: where there is one, the view calls _upcast(). */
static void
check_takes_data(EvsUpcaster *upcaster)
{
	evs_upcaster_resolve(upcaster);
	if (upcaster->takes_event)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the upcaster from %s takes events", evs_shape_name(&upcaster->shape)),
				 errdetail("It was created after the query that reads them had begun."),
				 errhint("Try again.")));
}

/* Has an event what every event has? */
static bool
is_whole(const Event *event)
{
	return !event->nulls[EVS_COLUMN_TYPE - 1] && !event->nulls[EVS_COLUMN_DATA - 1] &&
		!event->nulls[EVS_COLUMN_SCHEMA_VERSION - 1];
}

/* Keep the data that were made of an event. */
static void
keep_data(Upcasting *upcasting, EvsPosition position, Datum data)
{
	MemoryContext caller = MemoryContextSwitchTo(upcasting->made_context);

	upcasting->made_position = 0;
	MemoryContextReset(upcasting->made_context);
	upcasting->made_data = PointerGetDatum(PG_DETOAST_DATUM_COPY(data));
	upcasting->made_position = position;
	MemoryContextSwitchTo(caller);
}

/* An event that an upcaster has returned in place of another. */
static void
take_event(const Upcasting *upcasting, const EvsUpcaster *upcaster, const Event *before, Datum composite, Event *after)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(composite);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};
	static const int kept[] = {EVS_COLUMN_POSITION, EVS_COLUMN_VERSION, EVS_COLUMN_RECORDED_AT, EVS_COLUMN_ID, EVS_COLUMN_STREAM};
	int			version;

	heap_deform_tuple(&tuple, upcasting->event, after->values, after->nulls);
	for (int i = 0; i < lengthof(kept); i++)
	{
		after->values[kept[i] - 1] = before->values[kept[i] - 1];
		after->nulls[kept[i] - 1] = before->nulls[kept[i] - 1];
	}
	if (!is_whole(after))
		refuse(upcaster, "The event that it returned lacks its type, its data or its schema version.",
			   "Change the event that it was given, and return that.");

	version = DatumGetInt32(after->values[EVS_COLUMN_SCHEMA_VERSION - 1]);
	if (!evs_shapes_same_type(&upcaster->shape, DatumGetTextPP(after->values[EVS_COLUMN_TYPE - 1])))
	{
		if (version < 1 || version > evs_shapes_newest(upcasting->shapes, DatumGetTextPP(after->values[EVS_COLUMN_TYPE - 1])))
			refuse(upcaster, psprintf("It returned version %d of event type \"%s\", which there is not.", version,
									  TextDatumGetCString(after->values[EVS_COLUMN_TYPE - 1])),
				   "Set the schema version that the data have.");
	}
	else if (version == upcaster->shape.version)
		after->values[EVS_COLUMN_SCHEMA_VERSION - 1] = Int32GetDatum(version + 1);
	else if (version < upcaster->shape.version || version > evs_shapes_newest(upcasting->shapes, upcaster->shape.type))
		refuse(upcaster, psprintf("It returned version %d.", version), "Leave the schema version as it is to mean the next one.");
}

/* What a function returns that returns a set: a list of events, copied, so that the function may be called again meanwhile. */
static List *
events_of_set(Upcasting *upcasting, EvsUpcaster *upcaster, Datum argument)
{
	ExprContext *context = CreateStandaloneExprContext();
	ReturnSetInfo set = {
		.type = T_ReturnSetInfo, .econtext = context, .expectedDesc = upcasting->event,
		.allowedModes = SFRM_ValuePerCall | SFRM_Materialize, .returnMode = SFRM_ValuePerCall,
	};
	List	   *events = NIL;

	do
	{
		bool		isnull;
		Datum		event;

		set.isDone = ExprSingleResult;
		event = call(upcasting, upcaster, argument, &set, &isnull);
		if (set.returnMode == SFRM_ValuePerCall && set.isDone != ExprEndResult && !isnull)
			events = lappend(events, DatumGetPointer(datumCopy(event, false, -1)));
	} while (set.returnMode == SFRM_ValuePerCall && set.isDone == ExprMultipleResult);

	if (set.returnMode == SFRM_Materialize && set.setResult)
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(upcasting->event, &TTSOpsMinimalTuple);

		while (tuplestore_gettupleslot(set.setResult, true, false, slot))
			events = lappend(events, DatumGetPointer(ExecFetchSlotHeapTupleDatum(slot)));
		ExecDropSingleTupleTableSlot(slot);
		tuplestore_end(set.setResult);
	}
	FreeExprContext(context, true);
	return events;
}

/* One event, and where what becomes of it goes. */
typedef struct Path
{
	Upcasting  *upcasting;
	EvsUpcaster *upcaster;
	Event		event;
	int			length;			/* how many upcasters it has come through */
	ReturnSetInfo *result;
} Path;

static void follow(Path *path);

/* Go on with an event that an upcaster has returned. */
static void
follow_returned(const Path *before, Datum composite)
{
	Path		path = *before;

	take_event(path.upcasting, path.upcaster, &before->event, composite, &path.event);
	if (++path.length > path.upcasting->shapes->upcaster_count)
		refuse(path.upcaster, "The upcasters lead in a circle.", "Each event must come to a shape that has no upcaster.");
	follow(&path);
}

/* An upcaster takes the event, and what it returns takes its place. */
static void
replace(Path *path)
{
	Datum		composite = HeapTupleGetDatum(heap_form_tuple(path->upcasting->event, path->event.values, path->event.nulls));
	bool		isnull;
	ListCell   *cell;

	if (path->upcaster->returns_set)
	{
		foreach(cell, events_of_set(path->upcasting, path->upcaster, composite))
			follow_returned(path, PointerGetDatum(lfirst(cell)));
		return;
	}
	composite = call(path->upcasting, path->upcaster, composite, NULL, &isnull);
	if (!isnull)
		follow_returned(path, composite);
}

/* Upcast an event, step by step, to what it is in its newest shape. */
static void
follow(Path *path)
{
	Event	   *event = &path->event;
	Datum	   *version = &event->values[EVS_COLUMN_SCHEMA_VERSION - 1];

	check_stack_depth();
	while ((path->upcaster = find_upcaster(path->upcasting, DatumGetTextPP(event->values[EVS_COLUMN_TYPE - 1]),
										   DatumGetInt32(*version))) != NULL)
	{
		evs_upcaster_resolve(path->upcaster);
		if (path->upcaster->takes_event)
		{
			replace(path);
			return;
		}
		event->values[EVS_COLUMN_DATA - 1] =
			upcast_data(path->upcasting, path->upcaster, event->values[EVS_COLUMN_DATA - 1]);
		*version = Int32GetDatum(DatumGetInt32(*version) + 1);
		path->length++;
	}
	tuplestore_putvalues(path->result->setResult, path->result->setDesc, event->values, event->nulls);
}

PG_FUNCTION_INFO_V1(evs_upcast);
PG_FUNCTION_INFO_V1(evs_upcast_data);
PG_FUNCTION_INFO_V1(evs_upcast_version);

/* evstore._upcast(event_table, position, version, ..., tags): what becomes of an event, given by its columns. */
Datum
evs_upcast(PG_FUNCTION_ARGS)
{
	Path		path = {.result = (ReturnSetInfo *) fcinfo->resultinfo};

	for (int i = 0; i < EVS_COLUMN_COUNT; i++)
	{
		path.event.nulls[i] = PG_ARGISNULL(i + 1);
		path.event.values[i] = path.event.nulls[i] ? (Datum) 0 : PG_GETARG_DATUM(i + 1);
	}
	if (PG_ARGISNULL(0) || !is_whole(&path.event))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("an event to be upcast must have a table, a type, data and a schema version")));
	path.upcasting = find_upcasting(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	follow(&path);
	return (Datum) 0;
}

/* evstore._upcast_data(event_table, position, type, schema_version, data): the data in their newest shape. */
Datum
evs_upcast_data(PG_FUNCTION_ARGS)
{
	Upcasting  *upcasting = find_upcasting(fcinfo);
	EvsPosition position = PG_GETARG_INT64(1);
	const text *type = PG_GETARG_TEXT_PP(2);
	int			version = PG_GETARG_INT32(3);
	Datum		data = PG_GETARG_DATUM(4);
	EvsUpcaster *upcaster = find_upcaster(upcasting, type, version);

	if (upcaster == NULL)
		PG_RETURN_DATUM(data);
	if (upcasting->made_position == 0 || upcasting->made_position != position)
	{
		for (; upcaster != NULL; upcaster = find_upcaster(upcasting, type, ++version))
		{
			check_takes_data(upcaster);
			data = upcast_data(upcasting, upcaster, data);
		}
		keep_data(upcasting, position, data);
	}
	/* The caller's may outlive ours. */
	PG_RETURN_DATUM(datumCopy(upcasting->made_data, false, -1));
}

/* evstore._upcast_version(event_table, type, schema_version): the version that the newest shape has. */
Datum
evs_upcast_version(PG_FUNCTION_ARGS)
{
	const Upcasting *upcasting = find_upcasting(fcinfo);
	int			version = PG_GETARG_INT32(2);

	if (upcasting->shapes)
		version = Max(version, evs_shapes_newest(upcasting->shapes, PG_GETARG_TEXT_PP(1)));
	PG_RETURN_INT32(version);
}
