/*
 * backoff.c
 *		When to try again what failed.
 */
#include "evstore.h"

#include "base/backoff.h"
#include "utils/timestamp.h"

#define FIRST_PAUSE_MS	1000
#define LONGEST_PAUSE_MS 60000

/* One second after the first failure, doubling with each, up to a minute. */
TimestampTz
evs_backoff_until(int failures, TimestampTz now)
{
	int			doublings = Min(Max(failures, 1) - 1, 6);
	int64		pause = Min((int64) FIRST_PAUSE_MS << doublings, LONGEST_PAUSE_MS);

	return TimestampTzPlusMilliseconds(now, pause);
}
