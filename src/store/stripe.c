/*
 * stripe.c
 *		Stripes: a fixed number of locks that stand for any number of streams,
 *		event types and tags.
 *
 * Whoever appends takes the stripe of the stream, and of the type and the tags
 * of each event, to ADD under them; a condition takes stripes to CHECK that no
 * event that it forbids comes in under them. Two that add under one stripe do
 * not wait for each other, unless it is a stream's: its versions follow one
 * another. Two that check do not, either. Adding and checking exclude each
 * other.
 *
 *		             ADD          CHECK
 *	type, tag     RowExclusive    Share      (both: ShareRowExclusive)
 *	stream        Exclusive       Share
 *
 * Stripes keep a bulk load of many streams or tags from filling the server's
 * lock table; the price is that strangers may share one. A call knows all of
 * its stripes beforehand and takes them in one order, so that no two calls can
 * wait for each other.
 *
 * What is given back before the transaction ends, once the events are in the
 * table: a stream that was added to, as its events guard it from then on
 * (stream.c); and what was checked by a condition, as whoever adds from then on
 * is given higher positions and comes after us. Types and tags that were added
 * under are kept, so that a condition which takes one of them finds every event
 * committed; so is a stream that was only checked.
 *
 * The locks are advisory ones as far as PostgreSQL is concerned, told apart
 * from the users' by their class.
 */
#include "evstore.h"

#include "base/advisory.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lock.h"
#include "store/stripe.h"

/* Begin with no stripe. */
void
evs_stripes_init(EvsStripes *stripes, Oid relid)
{
	memset(stripes, 0, sizeof(EvsStripes));
	stripes->relid = relid;
}

/* Add the stripe of a name. */
void
evs_stripes_want(EvsStripes *stripes, EvsStripeKind kind, EvsStripeUse use,
				 const char *name, int length)
{
	uint32		count = kind == EVS_STRIPE_TYPE ? EVS_TYPE_STRIPES : EVS_STRIPES;
	uint32		stripe = hash_bytes((const unsigned char *) name, length) & (count - 1);

	stripes->wanted[kind][use][stripe / 64] |= UINT64CONST(1) << (stripe % 64);
}

/* Add the stripes of all event types there can be. */
void
evs_stripes_want_all_types(EvsStripes *stripes, EvsStripeUse use)
{
	for (int i = 0; i < EVS_TYPE_STRIPES / 64; i++)
		stripes->wanted[EVS_STRIPE_TYPE][use][i] = ~UINT64CONST(0);
}

/* How a stripe is locked; NoLock if it is not wanted. */
static LOCKMODE
lock_mode(EvsStripeKind kind, bool add, bool check)
{
	if (!add && !check)
		return NoLock;
	if (kind == EVS_STRIPE_STREAM)
		return add ? ExclusiveLock : ShareLock;
	if (add && check)
		return ShareRowExclusiveLock;
	return add ? RowExclusiveLock : ShareLock;
}

/* How it stays locked to the end of the transaction. */
static LOCKMODE
kept_mode(EvsStripeKind kind, bool add, bool check)
{
	if (kind == EVS_STRIPE_STREAM)
		return check ? lock_mode(kind, add, check) : NoLock;
	return lock_mode(kind, add, false);
}

/* Go over the stripes in order, and change how they are locked; NULL stands for "not at all". */
static void
change_locks(const EvsStripes *stripes, LOCKMODE (*from) (EvsStripeKind, bool, bool),
			 LOCKMODE (*to) (EvsStripeKind, bool, bool))
{
	for (int kind = 0; kind < EVS_STRIPE_KINDS; kind++)
		for (int word = 0; word < EVS_STRIPE_WORDS; word++)
		{
			uint64		adds = stripes->wanted[kind][EVS_STRIPE_ADD][word];
			uint64		checks = stripes->wanted[kind][EVS_STRIPE_CHECK][word];

			for (uint64 left = adds | checks; left != 0; left &= left - 1)
			{
				int			bit = pg_rightmost_one_pos64(left);
				bool		add = (adds >> bit) & 1;
				bool		check = (checks >> bit) & 1;
				LOCKMODE	old_mode = from ? from(kind, add, check) : NoLock;
				LOCKMODE	new_mode = to ? to(kind, add, check) : NoLock;
				LOCKTAG		tag;

				if (old_mode == new_mode)
					continue;
				SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, stripes->relid,
									 kind * EVS_STRIPES + word * 64 + bit, EVS_LOCK_STRIPE);
				/* Of two modes, the weaker is taken before the stronger is given back: nobody comes between. */
				if (new_mode != NoLock)
					(void) LockAcquire(&tag, new_mode, false, false);
				if (old_mode != NoLock)
					LockRelease(&tag, old_mode, false);
			}
		}
}

/* Take the stripes, and wait where somebody is in the way. */
void
evs_stripes_take(const EvsStripes *stripes)
{
	change_locks(stripes, NULL, lock_mode);
}

/* Give all of them back: we are about to wait for something else. */
void
evs_stripes_give_back(const EvsStripes *stripes)
{
	change_locks(stripes, lock_mode, NULL);
}

/* The events are in the table: keep what must be kept to the end of the transaction. */
void
evs_stripes_keep_used(const EvsStripes *stripes)
{
	change_locks(stripes, lock_mode, kept_mode);
}
