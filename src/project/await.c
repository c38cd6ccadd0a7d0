/*
 * await.c
 *		Sleeping until a projection has applied a position.
 *
 * Without a query, and without looking again and again: a worker that has
 * committed a batch wakes who sleeps on its projection's slot in shared memory.
 */
#include "evstore.h"

#include "base/catalog.h"
#include "base/counters.h"
#include "base/database.h"
#include "project/await.h"
#include "project/progress.h"
#include "storage/condition_variable.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* How long a session waits for a projection that no worker knows before it looks again. */
#define LOOK_AGAIN_MS 1000

/* Sleep until a projection, all its shards, has applied a position, or that cannot be waited for any longer. */
EvsWaitResult
evs_await(int projection, EvsPosition position, TimestampTz deadline)
{
	Oid			store = evs_catalog()->position_sequence;
	EvsWaitResult result = EVS_WAIT_TIMED_OUT;
	bool		was_known = false;
	bool		slept = false;

	for (;;)
	{
		ConditionVariable *moved;
		ConditionVariable *still;
		bool		known;
		long		left;

		if (evs_progress_has_applied(store, projection, position, &moved, &known))
		{
			result = EVS_WAIT_APPLIED;
			break;
		}
		if (was_known && !known)
		{
			result = EVS_WAIT_GONE;
			break;
		}
		was_known = known;

		/*
		 * From here on no broadcast is missed: look once more, as the slot may
		 * have moved, or have come to be, since we looked.
		 */
		ConditionVariablePrepareToSleep(moved);
		if (evs_progress_has_applied(store, projection, position, &still, &known) || still != moved)
			continue;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (left <= 0)
			break;
		if (!slept)
			evs_count(evs_database_slot(), EVS_COUNT_WAITS, 1);
		slept = true;
		(void) ConditionVariableTimedSleep(moved, known ? left : Min(left, LOOK_AGAIN_MS),
										   EVS_WAIT_EVENT("EvstoreWaitFor"));
		if (!known)
		{
			/* Rung or not, the caller looks whether there is still such a projection. */
			result = EVS_WAIT_GONE;
			break;
		}
	}
	ConditionVariableCancelSleep();
	if (slept && result == EVS_WAIT_TIMED_OUT)
		evs_count(evs_database_slot(), EVS_COUNT_TIMEOUTS, 1);
	return result;
}
