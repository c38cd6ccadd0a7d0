/*
 * generation.h
 *		Which state the definitions of a database's projections are in.
 */
#ifndef EVSTORE_GENERATION_H
#define EVSTORE_GENERATION_H

#include "base/shmem.h"

extern const EvsShmemPart evs_generation_shmem;

extern void evs_generation_advance(EvsDatabaseSlot database);
extern uint32 evs_generation(EvsDatabaseSlot database);

#endif							/* EVSTORE_GENERATION_H */
