/*
 * settings.h
 *		The settings that users turn.
 */
#ifndef EVSTORE_SETTINGS_H
#define EVSTORE_SETTINGS_H

extern char *evs_event_table;
extern char *evs_correlation_id;
extern char *evs_causation_id;
extern bool evs_raw;
extern bool evs_maintenance;
extern bool evs_read_your_writes;
extern int	evs_read_your_writes_timeout;
extern bool evs_notify;
extern int	evs_workers;
extern int	evs_audit_interval;
extern double evs_audit_sample;
extern int	evs_max_databases;
extern int	evs_max_projections;

/* Upper bound of evstore.workers: shared memory has that many bells a database. */
#define EVS_MAX_WORKERS 64

/* More shards of one projection than there can be workers make no sense. */
#define EVS_MAX_SHARDS EVS_MAX_WORKERS

extern void evs_settings_define(void);

#endif							/* EVSTORE_SETTINGS_H */
