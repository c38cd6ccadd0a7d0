/*
 * read.h
 *		Reading events.
 */
#ifndef EVSTORE_READ_H
#define EVSTORE_READ_H

#include "store/table.h"
#include "tcop/dest.h"

extern uint64 evs_read_stream_into(DestReceiver *receiver, EvsTable *table, const text *stream,
								   EvsVersion after, EvsVersion to);

#endif							/* EVSTORE_READ_H */
