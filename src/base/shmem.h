/*
 * shmem.h
 *		evstore's shared memory: one area a module, one lock for all.
 */
#ifndef EVSTORE_SHMEM_H
#define EVSTORE_SHMEM_H

#include "storage/lwlock.h"

/*
 * A module's area. "size" may use MaxBackends and the settings; "attach" is
 * given the area in every process that starts shared memory, and initialises
 * it when "fresh".
 */
typedef struct EvsShmemPart
{
	const char *name;
	Size		(*size) (void);
	void		(*attach) (void *area, bool fresh);
} EvsShmemPart;

extern void evs_shmem_install(const EvsShmemPart *const *parts, int count);
extern bool evs_shmem_ready(void);
extern void evs_shmem_require(void);
extern LWLock *evs_lock(void);

#endif							/* EVSTORE_SHMEM_H */
