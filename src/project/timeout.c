/*
 * timeout.c
 *		How long a batch may take.
 *
 * statement_timeout counts the statements of clients, of which a worker has
 * none. So a batch has a timer of its own, which does what a cancel request
 * does, and remembers that it did.
 */
#include "evstore.h"

#include <signal.h>

#include "miscadmin.h"
#include "project/timeout.h"
#include "storage/latch.h"
#include "utils/timeout.h"

/* The time of the present batch is up. */
static volatile sig_atomic_t up = false;

static TimeoutId timer = MAX_TIMEOUTS;

/* The time is up; runs inside a signal handler. */
static void
on_timeout(void)
{
	up = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* A batch begins, and may take so many milliseconds; 0 is as long as it takes. */
void
evs_timeout_start(int ms)
{
	if (timer == MAX_TIMEOUTS)
		timer = RegisterTimeout(USER_TIMEOUT, on_timeout);
	up = false;
	if (ms > 0)
		enable_timeout_after(timer, ms);
}

/* The batch is over, one way or the other. Was its time up? */
bool
evs_timeout_stop(void)
{
	if (timer != MAX_TIMEOUTS)
		disable_timeout(timer, false);
	/* Too late: there is nothing to cancel any more. */
	if (up)
		QueryCancelPending = false;
	return up;
}

/* Did the last batch end because its time was up? */
bool
evs_timeout_was_up(void)
{
	return up;
}
