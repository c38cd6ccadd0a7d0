/*
 * upcast.h
 *		Making events of the newest shape out of older ones.
 */
#ifndef EVSTORE_UPCAST_H
#define EVSTORE_UPCAST_H

#include "store/shape.h"

extern void evs_upcaster_resolve(EvsUpcaster *upcaster);
extern bool evs_upcaster_has_function(const EvsUpcaster *upcaster);
extern char *evs_upcast_describe(const EvsShapes *shapes);

#endif							/* EVSTORE_UPCAST_H */
