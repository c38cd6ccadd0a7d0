/*
 * await.h
 *		Sleeping until a projection has applied a position.
 */
#ifndef EVSTORE_AWAIT_H
#define EVSTORE_AWAIT_H

#include "datatype/timestamp.h"
#include "store/event.h"

/* How waiting ended. */
typedef enum EvsWaitResult
{
	EVS_WAIT_APPLIED,
	EVS_WAIT_TIMED_OUT,
	EVS_WAIT_GONE				/* the projection was dropped or paused meanwhile */
} EvsWaitResult;

extern EvsWaitResult evs_await(int projection, EvsPosition position, TimestampTz deadline);

#endif							/* EVSTORE_AWAIT_H */
