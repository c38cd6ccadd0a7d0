/*
 * fit.h
 *		Whether JSON fits a composite type.
 */
#ifndef EVSTORE_FIT_H
#define EVSTORE_FIT_H

#include "utils/jsonb.h"

extern char *evs_fit(Jsonb *data, Oid type);

#endif							/* EVSTORE_FIT_H */
