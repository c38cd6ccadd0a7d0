/*
 * bounds.c
 *		The bounds of the batch that this session applies.
 *
 * A batch is the events with from < position <= to. Its bounds are known to
 * this session alone, through two STABLE functions that the batch view and the
 * views of projections compare with: so the planner sees their values and uses
 * the primary key, and the same text applies one event or a million. Outside a
 * batch they are NULL, and the batch view is empty.
 *
 * What has shards (shard.c) asks for the bounds by functions of other names, and
 * for its shard. So what does not ask for the shard cannot see a shard's batch,
 * and take all of its events for its own: it is refused.
 */
#include "evstore.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "project/bounds.h"

/* The batch that is being applied, or NULL. */
static const EvsBounds *current = NULL;

/* The batch that is being applied, or NULL. */
const EvsBounds *
evs_bounds(void)
{
	return current;
}

/* Enter a batch, or leave it (NULL). Returns what it was before, which is to be put back. */
const EvsBounds *
evs_bounds_set(const EvsBounds *bounds)
{
	const EvsBounds *before = current;

	current = bounds;
	return before;
}

/* Run a statement as outside of a batch, also where a handler asks for it. Call inside SPI; returns what SPI does. */
int
evs_bounds_execute_outside(const char *sql)
{
	const EvsBounds *outer = evs_bounds_set(NULL);
	volatile int result = 0;

	PG_TRY();
	{
		result = SPI_execute(sql, false, 0);
	}
	PG_FINALLY();
	{
		(void) evs_bounds_set(outer);
	}
	PG_END_TRY();
	return result;
}

/* Refuse to show the whole of a batch that one shard is to apply its part of. */
static void
check_whole(void)
{
	if (current->shards > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the batch of a shard cannot be read through the batch view of all events"),
				 errdetail("Every shard would apply all of them."),
				 errhint("Name the batch view without its schema, and not by way of another view: that means the events of the shard in a statement. A handler is given its events one by one.")));
}

PG_FUNCTION_INFO_V1(evs_batch_from);
PG_FUNCTION_INFO_V1(evs_batch_to);
PG_FUNCTION_INFO_V1(evs_shard_from);
PG_FUNCTION_INFO_V1(evs_shard_to);
PG_FUNCTION_INFO_V1(evs_shard_number);
PG_FUNCTION_INFO_V1(evs_shard_count);

/* evstore._batch_from() */
Datum
evs_batch_from(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	check_whole();
	PG_RETURN_INT64(current->from);
}

/* evstore._batch_to() */
Datum
evs_batch_to(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	check_whole();
	PG_RETURN_INT64(current->to);
}

/* evstore._shard_from() */
Datum
evs_shard_from(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(current->from);
}

/* evstore._shard_to() */
Datum
evs_shard_to(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(current->to);
}

/* evstore._shard_number() */
Datum
evs_shard_number(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT32(current->shard);
}

/* evstore._shard_count() */
Datum
evs_shard_count(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT32(Max(current->shards, 1));
}
