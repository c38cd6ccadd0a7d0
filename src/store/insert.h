/*
 * insert.h
 *		Putting events, their versions and positions known, into the table.
 */
#ifndef EVSTORE_INSERT_H
#define EVSTORE_INSERT_H

#include "store/event.h"
#include "store/table.h"

/* State of inserting into one table; private to insert.c. */
typedef struct EvsWriter EvsWriter;

/* Where a run of events of one stream goes; without a stream they have no versions. */
typedef struct EvsPlace
{
	const text *stream;
	EvsVersion	first_version;
	EvsPosition first_position;
	TimestampTz recorded_at;
} EvsPlace;

/* So many events go to the heap in one go, and into one WAL record a page. */
#define EVS_INSERT_BATCH 64

extern const EvsXactSubscriber evs_insert_xact;

extern bool evs_insert_is_direct(const EvsTable *table);
extern EvsWriter *evs_insert_begin(EvsTable *table, Relation rel, bool marked);
extern EvsVersion evs_insert_newest_version(EvsWriter *writer, const text *stream,
											TransactionId *unfinished);
extern void evs_insert_events(EvsWriter *writer, const EvsPlace *place,
							  const EvsEvent *events, int count);
extern void evs_insert_bulk(EvsWriter *writer);
extern TupleTableSlot *evs_insert_slot(EvsWriter *writer, int n);
extern TupleTableSlot *evs_insert_filled(EvsWriter *writer, int n);
extern void evs_insert_slots(EvsWriter *writer, int count, int *row);
extern void evs_insert_end(EvsWriter *writer);
extern bool evs_insert_claims(Oid relid, EvsPosition position);

#endif							/* EVSTORE_INSERT_H */
