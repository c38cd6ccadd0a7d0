/*
 * hooks.h
 *		evstore's place in the server's hook chains.
 */
#ifndef EVSTORE_HOOKS_H
#define EVSTORE_HOOKS_H

extern void evs_hooks_install(void);

#endif							/* EVSTORE_HOOKS_H */
