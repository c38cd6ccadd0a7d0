/*
 * progress.h
 *		How far each projection has come, in shared memory.
 */
#ifndef EVSTORE_PROGRESS_H
#define EVSTORE_PROGRESS_H

#include "base/shmem.h"
#include "datatype/timestamp.h"
#include "storage/condition_variable.h"

extern const EvsShmemPart evs_progress_shmem;

/* How far a projection has come. */
typedef struct EvsReach
{
	EvsPosition checkpoint;		/* as it stands in evstore._checkpoint */
	EvsPosition position;		/* nothing from there to here changed the read table */
	bool		failing;		/* the checkpoint's row tells of a failure, or of events given up */
	int			parked;			/* streams that are held back */
} EvsReach;

/* What the tables say of a projection that is to be applied. */
typedef struct EvsProjectionRow
{
	int			projection;
	Oid			event_table;	/* InvalidOid if they are several */
	EvsReach	reach;
	TimestampTz retry_at;		/* after a failure; else 0 */
	EvsPosition suspect;		/* the event it failed on, or 0 */
	int			priority;
	int			timeout;		/* of one batch, in milliseconds; 0 for none */
	int			rebuilds;		/* the projection that this one builds anew, or 0 */
	int			whole;			/* the projection that this is a shard of, or itself */
	int			shards;			/* of so many */
	int			division;		/* raised when its shards get other events than before */
} EvsProjectionRow;

/* A projection that a worker has taken to apply a batch to. */
typedef struct EvsClaim
{
	int			slot;
	int			projection;
	EvsReach	reach;			/* as it is believed */
	EvsPosition suspect;		/* a batch up to here has failed by an event's fault, or 0 */
	int			span;			/* positions that a batch may span, as larger ones took too much; 0 if any */
	int			timeout;		/* of the batch, in milliseconds; 0 for none */
	int			rebuilds;		/* the projection that this one builds anew, or 0 */
	int			division;		/* the reach is that of a shard of this division */
	bool		more;			/* another projection is due as well */
} EvsClaim;

/* What a projection has done. */
typedef struct EvsProgressStats
{
	int64		batches;		/* that moved its checkpoint */
	int64		positions;		/* passed */
	int64		failures;
	int64		busy;			/* microseconds that workers had it */
} EvsProgressStats;

/* What is shown of a projection. */
typedef struct EvsProgressReport
{
	int			projection;
	double		rate;			/* positions a second, lately */
	EvsPosition position;
	EvsProgressStats stats;
} EvsProgressReport;

extern bool evs_progress_sync(Oid database, Oid store, int count, const EvsProjectionRow *rows);
extern bool evs_progress_claim(Oid database, EvsPosition safe, TimestampTz now,
							   EvsClaim *claim, TimestampTz *next_retry);
extern int	evs_progress_claim_rebuilt(const EvsClaim *rebuild, EvsClaim *claims);
extern void evs_progress_release(const EvsClaim *claim, TimestampTz not_before);
extern void evs_progress_applied(const EvsClaim *claim, EvsReach reach);
extern void evs_progress_passed(const EvsClaim *claim, EvsPosition to);
extern void evs_progress_failed(const EvsClaim *claim, TimestampTz retry_at, EvsPosition suspect);
extern void evs_progress_cut(const EvsClaim *claim, EvsPosition suspect, int span);
extern void evs_progress_release_all(void);
extern bool evs_progress_has_applied(Oid store, int whole, EvsPosition position,
									 ConditionVariable **moved, bool *known);
extern bool evs_progress_report(int projection, EvsProgressReport *found);
extern int	evs_progress_report_all(EvsProgressReport *found);

#endif							/* EVSTORE_PROGRESS_H */
