/*
 * confine.h
 *		Keeping what this session runs from writing anywhere but in one schema.
 */
#ifndef EVSTORE_CONFINE_H
#define EVSTORE_CONFINE_H

extern Oid	evs_confine(Oid schema);
extern void evs_confine_check(Oid relid);

#endif							/* EVSTORE_CONFINE_H */
