/*
 * sequence.h
 *		The sequence that positions are reserved from.
 */
#ifndef EVSTORE_SEQUENCE_H
#define EVSTORE_SEQUENCE_H

extern uint64 evs_sequence_last(Oid sequence);
extern uint64 evs_sequence_reserve(Oid sequence, uint64 *end);
extern void evs_sequence_move(Oid sequence, uint64 last);

#endif							/* EVSTORE_SEQUENCE_H */
