/*
 * execute.c
 *		Executing a command: load, decide, append.
 *
 * The state is folded up to the stream's last version, the command decides on
 * it, and what it decided is appended under that very version. If somebody else
 * was faster, nothing has been written: the new events are folded into the state
 * and the command decides again. Whoever lost once stands in line for the
 * stream, so that many sessions on one stream take turns, in place of racing.
 *
 * A command with an id is decided once and for ever. Its first event has that
 * id, the others have ids that follow from it, and those events are the memory
 * of it, as with any append (store/retry.c). Only a command that decided on no
 * event needs a row of its own, evstore._command_without_events. Two sessions
 * with one id take turns as well: the second finds what the first has done.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/advisory.h"
#include "base/called.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "domain/command.h"
#include "domain/load.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "store/append.h"
#include "store/plan.h"
#include "store/retry.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/* Arguments of execute(). */
enum
{
	ARG_STREAM, ARG_COMMAND, ARG_ARGS, ARG_COMMAND_ID, ARG_EXPECTED, ARG_MAX_RETRIES, ARG_TABLE
};

/* What is executed, and what came of it. */
typedef struct Execution
{
	EvsTable   *table;
	const text *stream;
	const EvsAggregate *aggregate;
	const EvsCommand *command;
	Jsonb	   *args;
	const pg_uuid_t *command_id;	/* NULL: none */
	EvsVersion	expected;		/* EVS_ANY_VERSION: whatever is loaded */
	int			max_retries;
	EvsState	state;
	EvsEvent   *events;
	int			count;
} Execution;

/* The whole stream. */
static const EvsFoldLimit to_the_end = {PG_INT64_MAX, DT_NOEND};

/* Wait for one's turn at something, and keep it to the end of the transaction. */
static void
take_turn(Oid event_table, const void *key, size_t length)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, event_table, hash_bytes(key, length), EVS_LOCK_COMMAND);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* The id of an event of a command that has one. */
static pg_uuid_t *
event_id(const pg_uuid_t *command_id, int number)
{
	pg_uuid_t  *id = palloc_object(pg_uuid_t);
	uint64		half[2];

	*id = *command_id;
	if (number == 0)
		return id;
	for (int i = 0; i < lengthof(half); i++)
		half[i] = hash_bytes_extended(command_id->data, UUID_LEN, ((uint64) number << 1) + i);
	memcpy(id->data, half, UUID_LEN);
	/* Version 8 of RFC 9562: made in a way of one's own. */
	id->data[6] = (id->data[6] & 0x0f) | 0x80;
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
	return id;
}

/* Give the events of a command their ids. */
static void
set_ids(Execution *execution)
{
	for (int i = 0; i < execution->count; i++)
	{
		if (execution->events[i].id)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("command \"%s\" gives ids to its events", execution->command->definition.name),
					 errdetail("Executed with a command_id, its events get theirs from that.")));
		execution->events[i].id = event_id(execution->command_id, i);
	}
}

/* The state of the stream as of a version. */
static EvsState
state_as_of(const Execution *execution, EvsVersion version)
{
	return evs_load_state(execution->aggregate, execution->table, execution->stream,
						  (EvsFoldLimit) {version, DT_NOEND});
}

/* Are two texts the same? */
static bool
same_text(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* Find an event by its id, and copy it; false if there is none. */
static bool
find_event(const Execution *execution, const pg_uuid_t *id, EvsEvent *event, EvsState *at)
{
	Oid			types[] = {UUIDOID};
	Datum		values[] = {UUIDPGetDatum(id)};
	MemoryContext context = CurrentMemoryContext;
	SPIPlanPtr	plan;
	bool		found;

	SPI_connect();
	plan = evs_plan_prepare(execution->table, "SELECT stream, version, \"position\", type, data, metadata, id, tags, schema_version"
						  " FROM %s WHERE id OPERATOR(pg_catalog.=) $1", lengthof(types), types, 0);
	if (SPI_execute_plan(plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for the events of a command");
	evs_plan_check(execution->table, plan);
	found = SPI_processed > 0;
	if (found)
	{
		Datum		columns[9];
		bool		nulls[9];

		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, columns, nulls);
		if (nulls[0] || !same_text(DatumGetTextPP(columns[0]), execution->stream))
			evs_retry_refuse_id(NULL);
		MemoryContextSwitchTo(context);
		at->version = DatumGetInt64(columns[1]);
		at->position = DatumGetInt64(columns[2]);
		event->type = DatumGetTextPCopy(columns[3]);
		event->data = DatumGetJsonbPCopy(columns[4]);
		event->metadata = nulls[5] ? NULL : DatumGetJsonbPCopy(columns[5]);
		event->id = memcpy(palloc(UUID_LEN), DatumGetUUIDP(columns[6]), UUID_LEN);
		event->tags = nulls[7] ? NULL : DatumGetArrayTypePCopy(columns[7]);
		event->schema_version = DatumGetInt32(columns[8]);
	}
	SPI_finish();
	return found;
}

/* Find what a command with this id has appended; false if nothing. */
static bool
find_events(Execution *execution)
{
	EvsState	at = {0};
	EvsEvent	event;
	int			room = 4;

	execution->count = 0;
	execution->events = palloc_array(EvsEvent, room);
	while (find_event(execution, event_id(execution->command_id, execution->count), &event, &at))
	{
		if (execution->count == room)
		{
			room *= 2;
			execution->events = repalloc_array(execution->events, EvsEvent, room);
		}
		execution->events[execution->count++] = event;
	}
	if (execution->count > 0)
		execution->state = state_as_of(execution, at.version);
	return execution->count > 0;
}

/* Run a statement on the commands without events. Call inside SPI. */
static void
run_without_events(const Execution *execution, const char *sql, int expected)
{
	Oid			types[] = {OIDOID, UUIDOID, TEXTOID, INT8OID, INT8OID};
	Datum		values[] = {
		ObjectIdGetDatum(execution->table->relid), UUIDPGetDatum(execution->command_id),
		PointerGetDatum(execution->stream),
		Int64GetDatum(execution->state.version), Int64GetDatum(execution->state.position),
	};

	evs_owner_run_extension(sql, lengthof(types), types, values, NULL, expected);
}

/* Find that a command with this id has decided on no event; false if it has not been executed. */
static bool
find_without_events(Execution *execution)
{
	EvsVersion	version = 0;
	bool		found;
	bool		isnull;

	SPI_connect();
	run_without_events(execution, "SELECT version, stream = $3 FROM evstore._command_without_events"
					   " WHERE event_table::oid = $1 AND command_id = $2 AND ($4, $5) IS NOT NULL", SPI_OK_SELECT);
	found = SPI_processed > 0;
	if (found)
	{
		if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)))
			evs_retry_refuse_id(NULL);
		version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_finish();
	if (found)
		execution->state = state_as_of(execution, version);
	return found;
}

/* Was a command with this id executed before? Then the execution is told how. */
static bool
was_executed(Execution *execution)
{
	if (execution->command_id == NULL)
		return false;
	take_turn(execution->table->relid, execution->command_id->data, UUID_LEN);
	if (find_events(execution))
		return true;
	execution->count = 0;
	return find_without_events(execution);
}

/* Remember that a command with an id has decided on no event. */
static void
remember_without_events(const Execution *execution)
{
	SPI_connect();
	run_without_events(execution, "INSERT INTO evstore._command_without_events"
					   " (event_table, command_id, stream, version, \"position\") VALUES ($1::regclass, $2, $3, $4, $5)",
					   SPI_OK_INSERT);
	SPI_finish();
}

/* Decide on the state as it is known, and append under its version. False if somebody else was faster. */
static bool
try_once(Execution *execution, bool may_yield)
{
	EvsAppend	append = {.stream = execution->stream, .yields = may_yield};

	if (execution->expected != EVS_ANY_VERSION)
		evs_append_check_version(execution->stream, execution->expected, execution->state.version);
	execution->events = evs_command_decide(execution->command, &execution->state, execution->args, &execution->count);
	if (execution->command_id)
		set_ids(execution);
	if (execution->count == 0)
	{
		if (execution->command_id)
			remember_without_events(execution);
		return true;
	}
	append.events = execution->events;
	append.count = execution->count;
	append.expected = execution->state.version;
	evs_append(execution->table->relid, &append, 1, NULL);
	if (append.conflict)
		return false;
	evs_fold(execution->aggregate, execution->table, execution->stream,
			 (EvsFoldLimit) {append.version, DT_NOEND}, &execution->state);
	return true;
}

/* Load, decide and append, until it is done or has been tried often enough. */
static void
execute(Execution *execution)
{
	/* Later events cannot be seen in a transaction with one snapshot, and are not wanted by who expects a version. */
	int			retries = IsolationUsesXactSnapshot() || execution->expected != EVS_ANY_VERSION ?
		0 : execution->max_retries;

	execution->state = evs_load_state(execution->aggregate, execution->table, execution->stream, to_the_end);
	for (int i = 0; !try_once(execution, i < retries); i++)
	{
		take_turn(execution->table->relid, VARDATA_ANY(execution->stream), VARSIZE_ANY_EXHDR(execution->stream));
		evs_fold(execution->aggregate, execution->table, execution->stream, to_the_end, &execution->state);
	}
}

/* Events as an array of evstore.new_event. */
static Datum
events_array(const EvsEvent *events, int count)
{
	Oid			type = evs_catalog()->new_event_type;
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);
	Datum	   *rows = palloc_array(Datum, count);

	for (int i = 0; i < count; i++)
	{
		const EvsEvent *event = &events[i];
		Datum		values[] = {
			PointerGetDatum(event->type), PointerGetDatum(event->data), PointerGetDatum(event->metadata),
			PointerGetDatum(event->id), PointerGetDatum(event->tags), Int32GetDatum(event->schema_version),
		};
		bool		nulls[] = {false, false, event->metadata == NULL, event->id == NULL, event->tags == NULL, false};

		rows[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	return PointerGetDatum(construct_array(rows, count, type, -1, false, TYPALIGN_DOUBLE));
}

/* Refuse arguments that cannot be executed. */
static void
check_arguments(FunctionCallInfo fcinfo)
{
	evs_append_require_writable();
	evs_event_check_stream(PG_ARGISNULL(ARG_STREAM) ? NULL : PG_GETARG_TEXT_PP(ARG_STREAM));
	if (PG_ARGISNULL(ARG_MAX_RETRIES) || PG_GETARG_INT32(ARG_MAX_RETRIES) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_retries must be at least 0")));
}

PG_FUNCTION_INFO_V1(evs_execute);

/* evstore.execute(stream, command, args, command_id, expected_version, max_retries, event_table) */
Datum
evs_execute(PG_FUNCTION_ARGS)
{
	Execution	execution = {0};
	char	   *name = evs_called_text(fcinfo, ARG_COMMAND, "the name of a command");
	Relation	rel;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};

	check_arguments(fcinfo);
	execution.table = evs_table_open(evs_table_argument(fcinfo, ARG_TABLE), AccessShareLock, &rel);
	execution.stream = PG_GETARG_TEXT_PP(ARG_STREAM);
	execution.aggregate = evs_aggregate_open(execution.table->relid, execution.stream);
	execution.command = evs_command_open(execution.table->relid, execution.stream, name);
	execution.args = PG_ARGISNULL(ARG_ARGS) ? NULL : PG_GETARG_JSONB_P(ARG_ARGS);
	execution.command_id = PG_ARGISNULL(ARG_COMMAND_ID) ? NULL : PG_GETARG_UUID_P(ARG_COMMAND_ID);
	execution.expected = evs_append_expected(fcinfo, ARG_EXPECTED);
	execution.max_retries = PG_GETARG_INT32(ARG_MAX_RETRIES);
	if (execution.command->state_type != execution.aggregate->state_type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("command \"%s\" decides on a state of type %s, and the aggregate's is of type %s", name,
						format_type_be(execution.command->state_type), format_type_be(execution.aggregate->state_type))));

	if (!was_executed(&execution))
		execute(&execution);

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = execution.state.isnull;
	values[0] = nulls[0] ? 0 : evs_load_state_as_jsonb(execution.aggregate, &execution.state);
	values[1] = Int64GetDatum(execution.state.version);
	values[2] = Int64GetDatum(execution.state.position);
	nulls[2] = execution.state.version == 0;
	values[3] = events_array(execution.events, execution.count);
	evs_definition_close();
	evs_definition_close();
	evs_table_close(rel);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
