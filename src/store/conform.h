/*
 * conform.h
 *		Whether the data of an event are what its type says.
 */
#ifndef EVSTORE_CONFORM_H
#define EVSTORE_CONFORM_H

#include "store/shape.h"

extern void evs_conform_require_unchecking(void);
extern int	evs_conform(const EvsShapes *shapes, const text *type, int version, Jsonb *data);

#endif							/* EVSTORE_CONFORM_H */
