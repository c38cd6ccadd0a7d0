/*
 * timeout.h
 *		How long a batch may take.
 */
#ifndef EVSTORE_TIMEOUT_H
#define EVSTORE_TIMEOUT_H

extern void evs_timeout_start(int ms);
extern bool evs_timeout_stop(void);
extern bool evs_timeout_was_up(void);

#endif							/* EVSTORE_TIMEOUT_H */
