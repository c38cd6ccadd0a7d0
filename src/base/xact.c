/*
 * xact.c
 *		The one transaction callback of the extension.
 *
 * Registered once a process, in _PG_init: registering per transaction would
 * make every later commit walk a longer list. Modules subscribe by being in
 * the list that _PG_init hands over, and are called in its order.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/xact.h"

static const EvsXactSubscriber *const *xact_subscribers = NULL;
static int	xact_subscriber_count = 0;

/* Tell every subscriber that the top-level transaction is over. */
static void
tell_finished(bool committed)
{
	for (int i = 0; i < xact_subscriber_count; i++)
		if (xact_subscribers[i]->finished)
			xact_subscribers[i]->finished(committed);
}

/*
 * Tell every subscriber that the transaction goes on without this session.
 * For those that have no part in it any more, that is its end.
 */
static void
tell_prepared(void)
{
	for (int i = 0; i < xact_subscriber_count; i++)
	{
		if (xact_subscribers[i]->prepared)
			xact_subscribers[i]->prepared();
		else if (xact_subscribers[i]->finished)
			xact_subscribers[i]->finished(false);
	}
}

/* Top-level transaction callback. */
static void
on_xact_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			tell_finished(true);
			break;
		case XACT_EVENT_ABORT:
			tell_finished(false);
			break;
		case XACT_EVENT_PRE_COMMIT:
			for (int i = 0; i < xact_subscriber_count; i++)
				if (xact_subscribers[i]->before_commit)
					xact_subscribers[i]->before_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			for (int i = 0; i < xact_subscriber_count; i++)
				if (xact_subscribers[i]->before_prepare)
					xact_subscribers[i]->before_prepare();
			break;
		case XACT_EVENT_PREPARE:
			tell_prepared();
			break;
		default:
			break;
	}
}

/* Subtransaction callback. */
static void
on_subxact_event(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (int i = 0; i < xact_subscriber_count; i++)
		if (xact_subscribers[i]->subxact_aborted)
			xact_subscribers[i]->subxact_aborted(mySubid);
}

/* Register the callbacks; called once, from _PG_init. */
void
evs_xact_install(const EvsXactSubscriber *const *subscribers, int count)
{
	xact_subscribers = subscribers;
	xact_subscriber_count = count;
	RegisterXactCallback(on_xact_event, NULL);
	RegisterSubXactCallback(on_subxact_event, NULL);
}
