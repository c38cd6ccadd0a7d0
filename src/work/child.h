/*
 * child.h
 *		A parent's view of one child process.
 */
#ifndef EVSTORE_CHILD_H
#define EVSTORE_CHILD_H

#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"
#include "work/process.h"

typedef struct EvsChild
{
	EvsProcessKind kind;
	Oid			database;
	char		database_name[NAMEDATALEN]; /* for messages */
	int			number;
	BackgroundWorkerHandle *handle; /* NULL while it does not run */
	EvsProcessId id;			/* valid with handle */
	TimestampTz started_at;
	int			failures;		/* in a row */
	TimestampTz retry_at;		/* not to be started before */
} EvsChild;

typedef enum EvsChildState
{
	EVS_CHILD_RUNNING,
	EVS_CHILD_WAITING,			/* to be started at retry_at */
	EVS_CHILD_DONE				/* it found that it is not needed */
} EvsChildState;

extern EvsChildState evs_child_tend(EvsChild *child, bool may_start);
extern bool evs_child_has_stopped(EvsChild *child);

#endif							/* EVSTORE_CHILD_H */
