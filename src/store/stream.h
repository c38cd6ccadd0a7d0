/*
 * stream.h
 *		The last version of a stream.
 */
#ifndef EVSTORE_STREAM_H
#define EVSTORE_STREAM_H

#include "executor/tuptable.h"
#include "utils/rel.h"

extern EvsVersion evs_stream_newest(Relation rel, Relation version_index, TupleTableSlot *slot,
									const text *stream, TransactionId *writer);

#endif							/* EVSTORE_STREAM_H */
