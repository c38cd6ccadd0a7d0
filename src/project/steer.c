/*
 * steer.c
 *		How a projection is applied, as its owner may change it at any time:
 *		the SQL functions.
 *
 * A change is noticed by all workers when it commits, like a new projection:
 * they load what they know of the projection anew before its next batch. A
 * batch that is being applied ends as it began.
 */
#include "evstore.h"

#include "base/owner.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "project/checkpoint.h"
#include "project/failure.h"
#include "project/mode.h"
#include "project/shards.h"
#include "project/steer.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Settings, in the order in which create_projection() and set_projection() take them. */
enum
{
	BATCH_SIZE, ON_ERROR, RETRIES, TIMEOUT, PRIORITY, SETTING_COUNT
};

/* Refuse a time-out that makes no sense. */
static void
check_timeout(const Interval *interval)
{
	double		ms = interval->time / 1000.0 +
		((double) interval->month * DAYS_PER_MONTH + interval->day) * SECS_PER_DAY * 1000.0;

	if (ms < 0 || ms > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must be between 0 and %d milliseconds", PG_INT32_MAX)));
}

/* Refuse settings that make no sense; "first" is the argument that they begin with. */
static void
check_settings(FunctionCallInfo fcinfo, int first)
{
	if (!PG_ARGISNULL(first + BATCH_SIZE) && PG_GETARG_INT32(first + BATCH_SIZE) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be at least 1")));
	if (!PG_ARGISNULL(first + ON_ERROR))
		(void) evs_failure_policy(text_to_cstring(PG_GETARG_TEXT_PP(first + ON_ERROR)));
	if (!PG_ARGISNULL(first + RETRIES) && PG_GETARG_INT32(first + RETRIES) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retries must not be negative")));
	if (!PG_ARGISNULL(first + TIMEOUT))
		check_timeout(PG_GETARG_INTERVAL_P(first + TIMEOUT));
}

/* The events of one stream may be those of several shards of a query. */
void
evs_steer_check_parking(const EvsProjection *projection)
{
	if (projection && projection->on_error == EVS_PARK && projection->kind == EVS_QUERY && projection->shards > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot park streams of a query that has shards"),
				 errdetail("It is divided by its keys, and a stream may have events of several shards."),
				 errhint("Projection \"%s\" can stop or skip.", projection->name)));
}

/* Set what is not null of the settings, which are arguments from "first" on. Call inside SPI. */
void
evs_steer_set(int projection, FunctionCallInfo fcinfo, int first)
{
	Oid			types[1 + SETTING_COUNT] = {INT4OID, INT4OID, TEXTOID, INT4OID, INTERVALOID, INT4OID};
	Datum		values[1 + SETTING_COUNT] = {Int32GetDatum(projection)};
	char		nulls[1 + SETTING_COUNT + 1] = "      ";

	check_settings(fcinfo, first);
	for (int i = 0; i < SETTING_COUNT; i++)
	{
		values[1 + i] = PG_GETARG_DATUM(first + i);
		nulls[1 + i] = PG_ARGISNULL(first + i) ? 'n' : ' ';
	}
	evs_owner_run_extension("UPDATE evstore._projection SET batch_size = coalesce($2, batch_size),"
							" on_error = coalesce($3, on_error), retries = coalesce($4, retries),"
							" timeout = nullif(coalesce($5, timeout), '0'), priority = coalesce($6, priority)"
							" WHERE id = $1 OR shard_of = $1", lengthof(types), types, values, nulls, SPI_OK_UPDATE);
	evs_steer_check_parking(evs_projection_load(projection));
	evs_projection_note_change();
}

PG_FUNCTION_INFO_V1(evs_set_projection);
PG_FUNCTION_INFO_V1(evs_retry_projection);

/* Have a projection applied by workers, or by whoever appends. Call inside SPI. */
static void
set_mode(int projection, const char *mode)
{
	if (evs_mode_parse(mode))
	{
		evs_mode_wait_until_near(projection);
		evs_mode_enter_inline(projection);
	}
	else
		evs_mode_leave_inline(projection);
}

/* evstore.set_projection(name, batch_size, on_error, retries, timeout, priority, mode, shards) */
Datum
evs_set_projection(PG_FUNCTION_ARGS)
{
	int			projection;
	char	   *mode;

	if (PG_ARGISNULL(0))
		PG_RETURN_VOID();
	SPI_connect();
	projection = evs_projection_own(fcinfo, "evstore.set_projection()");
	mode = PG_ARGISNULL(1 + SETTING_COUNT) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1 + SETTING_COUNT));

	/*
	 * With both, the projection is the workers' meanwhile. Modes are locked
	 * before any row, as whoever puts a rebuild in place does.
	 */
	if (mode && !evs_mode_parse(mode))
		set_mode(projection, mode);
	if (!PG_ARGISNULL(1 + SETTING_COUNT + 1))
		evs_shards_set(projection, PG_GETARG_INT32(1 + SETTING_COUNT + 1));
	if (mode && evs_mode_parse(mode))
		set_mode(projection, mode);
	evs_steer_set(projection, fcinfo, 1);
	SPI_finish();
	PG_RETURN_VOID();
}

/* evstore.retry_projection(name) */
Datum
evs_retry_projection(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(evs_projection_own(fcinfo, "evstore.retry_projection()"))};

	SPI_connect();
	evs_checkpoint_lock_all(DatumGetInt32(values[0]));
	evs_owner_run_extension("UPDATE evstore._checkpoint SET stopped = false, failures = 0, failed_at = NULL,"
							" last_error = NULL, failed_position = NULL, given_up = 0 WHERE projection IN"
							" (SELECT id FROM evstore._projection WHERE id = $1 OR shard_of = $1 OR rebuilds = $1)",
							lengthof(types), types, values, NULL, SPI_OK_UPDATE);
	evs_projection_note_change();
	SPI_finish();
	PG_RETURN_VOID();
}
