/*
 * seal.h
 *		States of aggregates as bytes that nobody can have made up.
 */
#ifndef EVSTORE_SEAL_H
#define EVSTORE_SEAL_H

#include "base/xact.h"

extern const EvsXactSubscriber evs_seal_xact;

extern void evs_seal_prepare(void);
extern bytea *evs_seal_close(const char *aggregate, const bytea *content);
extern bytea *evs_seal_open(const char *aggregate, const bytea *sealed);

#endif							/* EVSTORE_SEAL_H */
