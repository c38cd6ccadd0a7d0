/*
 * append.h
 *		Rules of appending that hold on every way into an event table.
 */
#ifndef EVSTORE_APPEND_H
#define EVSTORE_APPEND_H

extern void evs_append_require_writable(void);
extern void evs_append_check_version(const text *stream, EvsVersion expected, EvsVersion actual);

#endif							/* EVSTORE_APPEND_H */
