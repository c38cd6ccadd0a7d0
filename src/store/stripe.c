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
 * A condition may have to wait for a transaction that stays open for long. If
 * it stood in line for the lock, everybody who adds would have to wait behind
 * it. So it takes nothing, waits for just the transactions in its way, and
 * tries again; only after PATIENCE times, where there is never a moment without
 * somebody who adds, it does stand in line.
 *
 * What is given back before the transaction ends, once the events are in the
 * table: a stream that was added to, as its events guard it from then on
 * (stream.c); and what was checked by a condition, as whoever adds from then on
 * is given higher positions and comes after us. Types and tags that were added
 * under are kept, so that a condition which takes one of them finds every event
 * committed; so is a stream that was only checked.
 *
 * Whoever adds row by row (trigger.c) keeps all it takes, and soon meets nothing
 * but stripes that it keeps. These are remembered, for the table that rows were
 * added to last, to save the way to the lock table.
 *
 * The locks are advisory ones as far as PostgreSQL is concerned, told apart
 * from the users' by their class.
 */
#include "evstore.h"

#include "access/transam.h"
#include "base/advisory.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "store/stripe.h"

#define PATIENCE	10

StaticAssertDecl(EVS_STRIPE_KINDS * EVS_STRIPE_WORDS <= 64, "there must be a bit for each word");

/* What this transaction keeps to its end for having added row by row, of one table, as far as remembered. */
static struct
{
	Oid			relid;
	uint64		stripes[EVS_STRIPE_KINDS][EVS_STRIPE_WORDS];
}			kept = {.relid = InvalidOid};

/* The transaction is over, and its locks are gone. */
static void
stripe_finished(bool committed)
{
	kept.relid = InvalidOid;
}

/* A subtransaction was rolled back, and the locks are gone that it took. */
static void
stripe_subxact_aborted(SubTransactionId subxact)
{
	kept.relid = InvalidOid;
}

const EvsXactSubscriber evs_stripe_xact = {
	.finished = stripe_finished,
	.subxact_aborted = stripe_subxact_aborted,
};

/* Begin with no stripe. */
void
evs_stripes_init(EvsStripes *stripes, Oid relid)
{
	stripes->relid = relid;
	stripes->condition = false;
	stripes->words = 0;
}

/* Make a word of a kind valid, if it is not. */
static void
need_word(EvsStripes *stripes, EvsStripeKind kind, int word)
{
	uint64		bit = UINT64CONST(1) << (kind * EVS_STRIPE_WORDS + word);

	if (stripes->words & bit)
		return;
	stripes->words |= bit;
	for (int use = 0; use < EVS_STRIPE_USES; use++)
		stripes->wanted[kind][use][word] = 0;
}

/* Add the stripe of a name. */
void
evs_stripes_want(EvsStripes *stripes, EvsStripeKind kind, EvsStripeUse use,
				 const char *name, int length)
{
	uint32		count = kind == EVS_STRIPE_TYPE ? EVS_TYPE_STRIPES : EVS_STRIPES;
	uint32		stripe = hash_bytes((const unsigned char *) name, length) & (count - 1);

	need_word(stripes, kind, stripe / 64);
	stripes->wanted[kind][use][stripe / 64] |= UINT64CONST(1) << (stripe % 64);
	if (use == EVS_STRIPE_CHECK && kind != EVS_STRIPE_STREAM)
		stripes->condition = true;
}

/* Check under the stripes of all event types there can be. */
void
evs_stripes_check_all_types(EvsStripes *stripes)
{
	for (int i = 0; i < EVS_TYPE_STRIPES / 64; i++)
	{
		need_word(stripes, EVS_STRIPE_TYPE, i);
		stripes->wanted[EVS_STRIPE_TYPE][EVS_STRIPE_CHECK][i] = ~UINT64CONST(0);
	}
	stripes->condition = true;
}

/* A walk over the wanted stripes, in order. */
typedef struct Walk
{
	const EvsStripes *stripes;
	uint64		words;			/* bits of the words that are to come */
	int			kind;
	int			word;
	uint64		left;			/* bits of the word that are to come */
	bool		add;			/* of the present stripe */
	bool		check;
	LOCKTAG		tag;
} Walk;

/* Begin a walk. */
static Walk
walk(const EvsStripes *stripes)
{
	Walk		w = {.stripes = stripes, .words = stripes->words};

	return w;
}

/* Go on to the next stripe; false at the end. */
static bool
next_stripe(Walk *w)
{
	const uint64 (*wanted)[EVS_STRIPE_WORDS];
	int			bit;

	if (w->left == 0)
	{
		if (w->words == 0)
			return false;
		bit = pg_rightmost_one_pos64(w->words);
		w->words &= w->words - 1;
		w->kind = bit / EVS_STRIPE_WORDS;
		w->word = bit % EVS_STRIPE_WORDS;
		wanted = w->stripes->wanted[w->kind];
		w->left = wanted[EVS_STRIPE_ADD][w->word] | wanted[EVS_STRIPE_CHECK][w->word];
	}
	wanted = w->stripes->wanted[w->kind];
	bit = pg_rightmost_one_pos64(w->left);
	w->left &= w->left - 1;
	w->add = (wanted[EVS_STRIPE_ADD][w->word] >> bit) & 1;
	w->check = (wanted[EVS_STRIPE_CHECK][w->word] >> bit) & 1;
	SET_LOCKTAG_ADVISORY(w->tag, MyDatabaseId, w->stripes->relid,
						 w->kind * EVS_STRIPES + w->word * 64 + bit, EVS_LOCK_STRIPE);
	return true;
}

/* How the present stripe is locked. */
static LOCKMODE
lock_mode(const Walk *w)
{
	if (w->kind == EVS_STRIPE_STREAM)
		return w->add ? ExclusiveLock : ShareLock;
	if (w->add && w->check)
		return ShareRowExclusiveLock;
	return w->add ? RowExclusiveLock : ShareLock;
}

/* How it stays locked to the end of the transaction, NoLock if it does not. */
static LOCKMODE
kept_mode(const Walk *w)
{
	if (w->kind == EVS_STRIPE_STREAM)
		return w->check ? lock_mode(w) : NoLock;
	return w->add ? RowExclusiveLock : NoLock;
}

/*
 * Take the stripes of types and tags if all of them are to be had at once. If
 * not, take none, and say which is in the way.
 */
static bool
try_types_and_tags(const EvsStripes *stripes, LOCKTAG *refused, LOCKMODE *mode)
{
	Walk		failed = walk(stripes);

	for (;;)
	{
		if (!next_stripe(&failed) || failed.kind == EVS_STRIPE_STREAM)
			return true;
		if (LockAcquire(&failed.tag, lock_mode(&failed), false, true) == LOCKACQUIRE_NOT_AVAIL)
			break;
	}
	*refused = failed.tag;
	*mode = lock_mode(&failed);
	for (Walk w = walk(stripes); next_stripe(&w) && memcmp(&w.tag, refused, sizeof(LOCKTAG)) != 0;)
		LockRelease(&w.tag, lock_mode(&w), false);
	return false;
}

/*
 * Wait for those who are in the way of a lock. Who has added under a stripe
 * that is to be checked keeps it to the end of the transaction: that is waited
 * for, without standing in line. Whatever else is in the way is given back
 * soon, and the line is short.
 */
static void
wait_for_others(const LOCKTAG *tag, LOCKMODE mode)
{
	bool		check = mode != RowExclusiveLock;
	VirtualTransactionId *adders = check ? GetLockConflicts(tag, ShareLock, NULL) : NULL;

	if (adders && VirtualTransactionIdIsValid(adders[0]))
	{
		for (VirtualTransactionId *adder = adders; VirtualTransactionIdIsValid(*adder); adder++)
			(void) VirtualXactLock(*adder, true);
		return;
	}
	(void) LockAcquire(tag, mode, false, false);
	LockRelease(tag, mode, false);
}

/*
 * Take the stripes of a condition's types and tags, holding none while waiting
 * for another; false if that has failed too often.
 */
static bool
take_politely(const EvsStripes *stripes)
{
	for (int attempt = 0; attempt < PATIENCE; attempt++)
	{
		LOCKTAG		refused;
		LOCKMODE	mode;

		if (try_types_and_tags(stripes, &refused, &mode))
			return true;
		wait_for_others(&refused, mode);
	}
	return false;
}

/* Take the stripes, and wait where somebody is in the way. */
void
evs_stripes_take(const EvsStripes *stripes)
{
	bool		streams_only = stripes->condition && take_politely(stripes);

	for (Walk w = walk(stripes); next_stripe(&w);)
		if (w.kind == EVS_STRIPE_STREAM || !streams_only)
			(void) LockAcquire(&w.tag, lock_mode(&w), false, false);
}

/*
 * Leave out the stripes that are kept anyway. Only for who adds, and keeps all:
 * the rest is to be handed to evs_stripes_remember() once it is taken.
 */
void
evs_stripes_leave_out_kept(EvsStripes *stripes)
{
	if (kept.relid != stripes->relid)
		return;
	for (uint64 words = stripes->words; words != 0; words &= words - 1)
	{
		int			bit = pg_rightmost_one_pos64(words);
		int			kind = bit / EVS_STRIPE_WORDS;
		int			word = bit % EVS_STRIPE_WORDS;

		stripes->wanted[kind][EVS_STRIPE_ADD][word] &= ~kept.stripes[kind][word];
		if (stripes->wanted[kind][EVS_STRIPE_ADD][word] == 0)
			stripes->words &= ~(UINT64CONST(1) << bit);
	}
}

/* These are taken, and kept to the end of the transaction. */
void
evs_stripes_remember(const EvsStripes *stripes)
{
	if (kept.relid != stripes->relid)
	{
		memset(&kept, 0, sizeof(kept));
		kept.relid = stripes->relid;
	}
	for (uint64 words = stripes->words; words != 0; words &= words - 1)
	{
		int			bit = pg_rightmost_one_pos64(words);
		int			kind = bit / EVS_STRIPE_WORDS;
		int			word = bit % EVS_STRIPE_WORDS;

		kept.stripes[kind][word] |= stripes->wanted[kind][EVS_STRIPE_ADD][word];
	}
}

/* Give all of them back: we are about to wait for something else. */
void
evs_stripes_give_back(const EvsStripes *stripes)
{
	for (Walk w = walk(stripes); next_stripe(&w);)
		LockRelease(&w.tag, lock_mode(&w), false);
}

/*
 * What must be known under the stripes has been looked at. If a transaction
 * that has not finished has it in its hands, give all of them back and wait for
 * that transaction's end; true if so: the caller takes them again, and looks
 * again.
 */
bool
evs_stripes_yield(const EvsStripes *stripes, Relation rel, TransactionId unfinished)
{
	if (!TransactionIdIsValid(unfinished))
		return false;
	evs_stripes_give_back(stripes);
	XactLockTableWait(unfinished, rel, NULL, XLTW_None);
	return true;
}

/* The events are in the table: keep what must be kept to the end of the transaction. */
void
evs_stripes_keep_used(const EvsStripes *stripes)
{
	for (Walk w = walk(stripes); next_stripe(&w);)
	{
		if (kept_mode(&w) == lock_mode(&w))
			continue;
		/* The weaker lock is taken before the stronger is given back: nobody comes between. */
		if (kept_mode(&w) != NoLock)
			(void) LockAcquire(&w.tag, kept_mode(&w), false, false);
		LockRelease(&w.tag, lock_mode(&w), false);
	}
}
