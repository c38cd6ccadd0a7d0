/*
 * failure.h
 *		Who is to blame for a batch that failed, and what is to be done.
 */
#ifndef EVSTORE_FAILURE_H
#define EVSTORE_FAILURE_H

#include "project/progress.h"
#include "project/projection.h"
#include "utils/elog.h"

/* Who is to blame for an error. */
typedef enum EvsBlame
{
	EVS_BLAME_NOBODY,			/* it passes, or somebody mends it: try again */
	EVS_BLAME_SIZE,				/* the same, but fewer events might do */
	EVS_BLAME_EVENT				/* one event of the batch, in all likelihood */
} EvsBlame;

/* What became of a failure that was recorded. */
typedef enum EvsVerdict
{
	EVS_RETRY,					/* later */
	EVS_PASSED,					/* the event was skipped or parked */
	EVS_STOPPED,				/* at the event */
	EVS_ELSEWHERE				/* the checkpoint is not where it was believed to be, or held */
} EvsVerdict;

extern EvsPolicy evs_failure_policy(const char *name);
extern EvsBlame evs_failure_blame(const ErrorData *error);
extern EvsVerdict evs_failure_record(EvsClaim *claim, const ErrorData *error, EvsPosition event, int *failures);

#endif							/* EVSTORE_FAILURE_H */
