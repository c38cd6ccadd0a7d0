/*
 * inline.h
 *		Inline projections: applied by whoever appends.
 */
#ifndef EVSTORE_INLINE_H
#define EVSTORE_INLINE_H

#include "base/xact.h"

extern const EvsXactSubscriber evs_inline_xact;

extern void evs_inline_apply_past(int projection, EvsPosition from, EvsPosition to);

#endif							/* EVSTORE_INLINE_H */
