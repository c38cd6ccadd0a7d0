/*
 * xact.h
 *		The one transaction callback of the extension.
 */
#ifndef EVSTORE_XACT_H
#define EVSTORE_XACT_H

/*
 * What a module wants to hear of. Any member may be NULL. "finished" runs
 * after ProcArrayEndTransaction, on commit and on abort: it must not raise an
 * error, allocate memory or look into a catalog. Nor must "prepared", which
 * runs in its place, if there is one, when the transaction was prepared.
 */
typedef struct EvsXactSubscriber
{
	void		(*before_commit) (void);
	void		(*before_prepare) (void);
	void		(*prepared) (void);
	void		(*finished) (bool committed);
	void		(*subxact_aborted) (SubTransactionId subxact);
} EvsXactSubscriber;

extern void evs_xact_install(const EvsXactSubscriber *const *subscribers, int count);

#endif							/* EVSTORE_XACT_H */
