/*
 * tell.h
 *		What the world outside hears of a batch.
 */
#ifndef EVSTORE_TELL_H
#define EVSTORE_TELL_H

extern void evs_tell_activity(const char *projection, EvsPosition from, EvsPosition to);
extern void evs_tell_listeners(const char *projection, EvsPosition position, int shard);

#endif							/* EVSTORE_TELL_H */
