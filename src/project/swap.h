/*
 * swap.h
 *		Putting what a rebuild has built in place.
 */
#ifndef EVSTORE_SWAP_H
#define EVSTORE_SWAP_H

#include "project/progress.h"

/* A rebuild that is so few positions behind has caught up: the swap applies the rest. */
#define EVS_SWAP_REST 1000

typedef enum EvsSwapResult
{
	EVS_SWAP_DONE,
	EVS_SWAP_LATER,				/* not now: nothing was done */
	EVS_SWAP_GONE				/* the rebuild, or what it builds, is not there any more */
} EvsSwapResult;

extern EvsSwapResult evs_swap(const EvsClaim *claim, const EvsClaim *held, int count, EvsReach *reaches);

#endif							/* EVSTORE_SWAP_H */
