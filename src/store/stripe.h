/*
 * stripe.h
 *		Stripes: a fixed number of locks that stand for any number of streams,
 *		event types and tags.
 */
#ifndef EVSTORE_STRIPE_H
#define EVSTORE_STRIPE_H

#include "base/xact.h"
#include "utils/rel.h"

/* What a stripe stands for, in the order in which stripes are taken. */
typedef enum EvsStripeKind
{
	EVS_STRIPE_TYPE,
	EVS_STRIPE_TAG,
	EVS_STRIPE_STREAM
} EvsStripeKind;

#define EVS_STRIPE_KINDS	(EVS_STRIPE_STREAM + 1)
#define EVS_STRIPES			1024	/* of a kind; a power of two */
#define EVS_TYPE_STRIPES	64	/* of them used for types: a condition on every event takes all */

/* What somebody means to do under a stripe. */
typedef enum EvsStripeUse
{
	EVS_STRIPE_ADD,				/* add events */
	EVS_STRIPE_CHECK			/* find that there are none, and keep it so */
} EvsStripeUse;

#define EVS_STRIPE_USES		(EVS_STRIPE_CHECK + 1)
#define EVS_STRIPE_WORDS	(EVS_STRIPES / 64)

/*
 * The stripes of one call: a bit for each. Few are wanted as a rule, so only
 * the words that "words" names are valid.
 */
typedef struct EvsStripes
{
	Oid			relid;
	bool		condition;		/* types or tags are to be checked */
	uint64		words;			/* a bit for each word, counted through all kinds */
	uint64		wanted[EVS_STRIPE_KINDS][EVS_STRIPE_USES][EVS_STRIPE_WORDS];
} EvsStripes;

extern const EvsXactSubscriber evs_stripe_xact;

extern void evs_stripes_init(EvsStripes *stripes, Oid relid);
extern void evs_stripes_want(EvsStripes *stripes, EvsStripeKind kind, EvsStripeUse use,
							 const char *name, int length);
extern void evs_stripes_check_all_types(EvsStripes *stripes);
extern void evs_stripes_take(const EvsStripes *stripes);
extern bool evs_stripes_yield(const EvsStripes *stripes, Relation rel, TransactionId unfinished);
extern void evs_stripes_give_back(const EvsStripes *stripes);
extern void evs_stripes_leave_out_kept(EvsStripes *stripes);
extern void evs_stripes_remember(const EvsStripes *stripes);
extern void evs_stripes_keep_used(const EvsStripes *stripes);

#endif							/* EVSTORE_STRIPE_H */
