/*
 * verify.h
 *		Comparing read tables with what the events make of them.
 */
#ifndef EVSTORE_VERIFY_H
#define EVSTORE_VERIFY_H

#include "project/projection.h"
#include "utils/tuplestore.h"

extern void evs_verify(EvsProjection *projection, double sample, Tuplestorestate *rows);

#endif							/* EVSTORE_VERIFY_H */
