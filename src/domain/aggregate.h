/*
 * aggregate.h
 *		How the state of a stream follows from its events.
 */
#ifndef EVSTORE_DOMAIN_AGGREGATE_H
#define EVSTORE_DOMAIN_AGGREGATE_H

#include "base/xact.h"
#include "utils/array.h"

/* A row of evstore._aggregate, and what follows from it. */
typedef struct EvsAggregate
{
	int			id;
	Oid			event_table;
	char	   *category;
	Oid			owner;
	ArrayType  *settings;		/* see owner.c */
	Oid			apply;			/* function (state, event), or aggregate (event) */
	bool		is_sql_aggregate;	/* the latter */
	Oid			state_type;
	int16		state_length;	/* how to copy a state */
	bool		state_by_value;
	char	   *initial_state;	/* in text form; NULL is NULL */
	char	   *definition_hash;	/* changes when a state may be another for the same events */
	MemoryContext context;		/* holds this struct and what it points to */
} EvsAggregate;

extern const EvsXactSubscriber evs_aggregate_xact;

extern void evs_aggregate_install(void);
extern const EvsAggregate *evs_aggregate_open(Oid event_table, const text *stream);
extern void evs_aggregate_close(const EvsAggregate *aggregate);
extern Datum evs_aggregate_state_in(const EvsAggregate *aggregate, const char *state, bool *isnull);

#endif							/* EVSTORE_DOMAIN_AGGREGATE_H */
