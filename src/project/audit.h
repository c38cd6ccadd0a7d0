/*
 * audit.h
 *		Verifying projections in the background.
 */
#ifndef EVSTORE_AUDIT_H
#define EVSTORE_AUDIT_H

/* The number of differences, where it could not be found out. */
#define EVS_AUDIT_FAILED (-1)

extern int	evs_audit_next(void);
extern void evs_audit(int projection);
extern void evs_audit_record(int projection, int64 differences);

#endif							/* EVSTORE_AUDIT_H */
