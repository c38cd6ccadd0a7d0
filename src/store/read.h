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
extern bool evs_read_stream_end(EvsTable *table, const text *stream, EvsVersion after, EvsVersion to,
								EvsVersion *version, EvsPosition *position);

#endif							/* EVSTORE_READ_H */
