/*
 * launcher.h
 *		The launcher: one for the server.
 */
#ifndef EVSTORE_LAUNCHER_H
#define EVSTORE_LAUNCHER_H

extern void evs_launcher_register(void);

#endif							/* EVSTORE_LAUNCHER_H */
