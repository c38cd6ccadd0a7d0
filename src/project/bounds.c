/*
 * bounds.c
 *		The bounds of the batch that this session applies.
 *
 * A batch is the events with from < position <= to. Its bounds are known to
 * this session alone, through two STABLE functions that the batch view and the
 * views of projections compare with: so the planner sees their values and uses
 * the primary key, and the same text applies one event or a million. Outside a
 * batch they are NULL, and the batch view is empty.
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

PG_FUNCTION_INFO_V1(evs_batch_from);
PG_FUNCTION_INFO_V1(evs_batch_to);

/* evstore._batch_from() */
Datum
evs_batch_from(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(current->from);
}

/* evstore._batch_to() */
Datum
evs_batch_to(PG_FUNCTION_ARGS)
{
	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(current->to);
}
