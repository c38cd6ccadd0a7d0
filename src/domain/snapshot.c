/*
 * snapshot.c
 *		Kept states of streams, so that loading a long one reads its tail only.
 *
 * A snapshot can be had from the events at any time, so it never matters
 * whether there is one: it is found or it is not. It bears the hash of the
 * definition it was made by (aggregate.c); after a change of the function it is
 * not found any more, and is replaced as events come.
 *
 * Snapshots are taken by a projection, a statement over the batch view that
 * calls evstore._take_snapshot() for every stream that has passed a multiple of
 * the aggregate's snapshot_every. No writer of events ever waits for one.
 */
#include "evstore.h"

#include "base/called.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "domain/definition.h"
#include "domain/snapshot.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

static const char *const find_sql =
	"SELECT version, \"position\", state FROM evstore._snapshot"
	" WHERE aggregate = $1 AND stream = $2 AND definition_hash = $3 AND version <= $4";

static const char *const keep_sql =
	"INSERT INTO evstore._snapshot AS old (aggregate, stream, version, \"position\", definition_hash, state)"
	" VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (aggregate, stream) DO UPDATE SET version = excluded.version,"
	" \"position\" = excluded.\"position\", definition_hash = excluded.definition_hash, state = excluded.state,"
	" taken_at = excluded.taken_at"
	" WHERE old.version < excluded.version OR old.definition_hash <> excluded.definition_hash";

/* A statement on evstore._snapshot, prepared once a session. */
static SPIPlanPtr
prepare(SPIPlanPtr *kept, const char *sql, int count, Oid *types)
{
	if (*kept == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(sql, count, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare a statement over evstore._snapshot");
		*kept = plan;
	}
	return *kept;
}

/* The newest kept state of a stream that is not beyond a version; false if there is none. */
bool
evs_snapshot_find(const EvsAggregate *aggregate, const text *stream, EvsVersion to, EvsState *state)
{
	static SPIPlanPtr kept = NULL;
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[] = {
		Int32GetDatum(aggregate->definition.id), PointerGetDatum(stream),
		CStringGetTextDatum(aggregate->hash), Int64GetDatum(to),
	};
	MemoryContext context = CurrentMemoryContext;
	EvsOwnerFrame frame;
	char	   *written = NULL;
	bool		found;

	SPI_connect();
	evs_owner_begin_extension(&frame);
	if (SPI_execute_plan(prepare(&kept, find_sql, lengthof(types), types), values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read evstore._snapshot");
	evs_owner_end(&frame);
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		value;

		state->version = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
		state->position = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		value = SPI_getbinval(row, desc, 3, &isnull);
		MemoryContextSwitchTo(context);
		written = isnull ? NULL : TextDatumGetCString(value);
	}
	SPI_finish();
	if (found)
	{
		evs_owner_begin(&frame, aggregate->definition.owner, aggregate->definition.settings);
		state->value = evs_aggregate_state_in(aggregate->state_type, written, &state->isnull);
		evs_owner_end(&frame);
	}
	return found;
}

/* A state in its text form, NULL if it is null. Its type's output function runs as the aggregate's owner. */
static char *
state_out(const EvsAggregate *aggregate, const EvsState *state)
{
	EvsOwnerFrame frame;
	Oid			output;
	bool		is_varlena;
	char	   *written;

	if (state->isnull)
		return NULL;
	getTypeOutputInfo(aggregate->state_type, &output, &is_varlena);
	evs_owner_begin(&frame, aggregate->definition.owner, aggregate->definition.settings);
	written = OidOutputFunctionCall(output, state->value);
	evs_owner_end(&frame);
	return written;
}

/* Keep a state. */
static void
keep(const EvsAggregate *aggregate, const text *stream, const EvsState *state)
{
	static SPIPlanPtr kept = NULL;
	Oid			types[] = {INT4OID, TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID};
	char	   *written = state_out(aggregate, state);
	Datum		values[] = {
		Int32GetDatum(aggregate->definition.id), PointerGetDatum(stream),
		Int64GetDatum(state->version), Int64GetDatum(state->position),
		CStringGetTextDatum(aggregate->hash), written ? CStringGetTextDatum(written) : 0,
	};
	const char	nulls[] = {' ', ' ', ' ', ' ', ' ', written ? ' ' : 'n', '\0'};
	EvsOwnerFrame frame;

	SPI_connect();
	evs_owner_begin_extension(&frame);
	if (SPI_execute_plan(prepare(&kept, keep_sql, lengthof(types), types), values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write evstore._snapshot");
	evs_owner_end(&frame);
	SPI_finish();
}

PG_FUNCTION_INFO_V1(evs_take_snapshot);

/* evstore._take_snapshot(stream, event_table): true if there was anything to keep. */
Datum
evs_take_snapshot(PG_FUNCTION_ARGS)
{
	text	   *stream = PG_GETARG_TEXT_PP(0);
	Relation	rel;
	EvsTable   *table = evs_table_open(PG_GETARG_OID(1), AccessShareLock, &rel);
	const EvsAggregate *aggregate = evs_aggregate_open(table->relid, stream);
	EvsFoldLimit all = {PG_INT64_MAX, DT_NOEND};
	EvsState	state;
	EvsVersion	before;

	evs_called_check_owner(aggregate->definition.owner, "aggregate", aggregate->definition.category);
	/* What is kept is for everybody, and so of all events. */
	if (check_enable_rls(table->relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot take a snapshot where row-level security hides events of table \"%s\"",
						get_rel_name(table->relid))));
	if (!evs_snapshot_find(aggregate, stream, all.version, &state))
		state = evs_fold_initial_state(aggregate);
	before = state.version;
	evs_fold(aggregate, table, stream, all, &state);
	if (state.version > before)
		keep(aggregate, stream, &state);
	evs_definition_close();
	evs_table_close(rel);
	PG_RETURN_BOOL(state.version > before);
}
