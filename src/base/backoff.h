/*
 * backoff.h
 *		When to try again what failed.
 */
#ifndef EVSTORE_BACKOFF_H
#define EVSTORE_BACKOFF_H

#include "datatype/timestamp.h"

extern TimestampTz evs_backoff_until(int failures, TimestampTz now);

#endif							/* EVSTORE_BACKOFF_H */
