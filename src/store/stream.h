/*
 * stream.h
 *		A stream's lock, and its last version.
 */
#ifndef EVSTORE_STREAM_H
#define EVSTORE_STREAM_H

#include "executor/tuptable.h"
#include "utils/rel.h"

extern EvsVersion evs_stream_lock(Relation rel, Relation version_index, TupleTableSlot *slot,
								  const text *stream);
extern void evs_stream_unlock(Oid relid, const text *stream);

#endif							/* EVSTORE_STREAM_H */
