/*
 * load.c
 *		Loading the state of a stream: the SQL functions.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "domain/load.h"
#include "domain/snapshot.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "store/event.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

/* The state of a stream, from a snapshot and the events after it, or from all its events. */
EvsState
evs_load_state(const EvsAggregate *aggregate, EvsTable *table, const text *stream, EvsFoldLimit limit)
{
	EvsState	state;

	/* A snapshot knows all events, also those that policies hide; and it does not know when they happened. */
	if (aggregate->is_sql_aggregate || limit.time != DT_NOEND ||
		check_enable_rls(table->relid, InvalidOid, true) == RLS_ENABLED ||
		!evs_snapshot_find(aggregate, stream, limit.version, &state))
		state = evs_fold_initial_state(aggregate);
	evs_fold(aggregate, table, stream, limit, &state);
	return state;
}

/* A value of any type as jsonb, by to_jsonb(). */
static Datum
convert_to_jsonb(Oid type, Datum value)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		result;
	bool		isnull;

	SPI_connect();
	if (SPI_execute_with_args("SELECT pg_catalog.to_jsonb($1)", 1, &type, &value, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not convert a state to jsonb");
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	MemoryContextSwitchTo(caller);
	result = PointerGetDatum(DatumGetJsonbPCopy(result));
	SPI_finish();
	return result;
}

/* A state that is not null, as jsonb. */
Datum
evs_load_state_as_jsonb(const EvsAggregate *aggregate, const EvsState *state)
{
	EvsOwnerFrame frame;
	Datum		result;

	if (getBaseType(aggregate->state_type) == JSONBOID)
		return state->value;
	/* A type may bring a conversion of its own. */
	evs_owner_begin(&frame, aggregate->definition.owner, aggregate->definition.settings);
	if (type_is_rowtype(aggregate->state_type))
		result = DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(DatumGetTextPP(
															  DirectFunctionCall1(row_to_json, state->value)))));
	else
		result = convert_to_jsonb(aggregate->state_type, state->value);
	evs_owner_end(&frame);
	return result;
}

/* The arguments as_of_version and as_of_time, of which there may be one. */
static EvsFoldLimit
limit_arguments(FunctionCallInfo fcinfo, int version, int time)
{
	EvsFoldLimit limit = {PG_INT64_MAX, DT_NOEND};

	if (!PG_ARGISNULL(version) && !PG_ARGISNULL(time))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("give either as_of_version or as_of_time")));
	if (!PG_ARGISNULL(version))
		limit.version = PG_GETARG_INT64(version);
	if (limit.version < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("as_of_version must not be negative")));
	if (!PG_ARGISNULL(time))
		limit.time = PG_GETARG_TIMESTAMPTZ(time);
	return limit;
}

/* The stream argument. */
static text *
stream_argument(FunctionCallInfo fcinfo, int argument)
{
	text	   *stream = PG_ARGISNULL(argument) ? NULL : PG_GETARG_TEXT_PP(argument);

	evs_event_check_stream(stream);
	return stream;
}

PG_FUNCTION_INFO_V1(evs_load);
PG_FUNCTION_INFO_V1(evs_load_as);

/* evstore.load(stream, as_of_version, as_of_time, event_table) */
Datum
evs_load(PG_FUNCTION_ARGS)
{
	text	   *stream = stream_argument(fcinfo, 0);
	EvsFoldLimit limit = limit_arguments(fcinfo, 1, 2);
	Relation	rel;
	EvsTable   *table = evs_table_open(evs_table_argument(fcinfo, 3), AccessShareLock, &rel);
	const EvsAggregate *aggregate = evs_aggregate_open(table->relid, stream);
	EvsState	state = evs_load_state(aggregate, table, stream, limit);
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {state.isnull, false, state.version == 0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = state.isnull ? 0 : evs_load_state_as_jsonb(aggregate, &state);
	values[1] = Int64GetDatum(state.version);
	values[2] = Int64GetDatum(state.position);
	evs_definition_close();
	evs_table_close(rel);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* evstore.load_as(state_type, stream, as_of_version, as_of_time, event_table) */
Datum
evs_load_as(PG_FUNCTION_ARGS)
{
	text	   *stream = stream_argument(fcinfo, 1);
	EvsFoldLimit limit = limit_arguments(fcinfo, 2, 3);
	Relation	rel;
	EvsTable   *table = evs_table_open(evs_table_argument(fcinfo, 4), AccessShareLock, &rel);
	const EvsAggregate *aggregate = evs_aggregate_open(table->relid, stream);
	EvsState	state;

	if (get_fn_expr_argtype(fcinfo->flinfo, 0) != aggregate->state_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the state of aggregate \"%s\" is of type %s, not %s", aggregate->definition.category,
						format_type_be(aggregate->state_type),
						format_type_be(get_fn_expr_argtype(fcinfo->flinfo, 0)))));
	state = evs_load_state(aggregate, table, stream, limit);
	evs_definition_close();
	evs_table_close(rel);
	if (state.isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(state.value);
}
