/*
 * aggregate.h
 *		How the state of a stream follows from its events.
 */
#ifndef EVSTORE_DOMAIN_AGGREGATE_H
#define EVSTORE_DOMAIN_AGGREGATE_H

#include "domain/definition.h"

/* A row of evstore._aggregate, and what follows from it. */
typedef struct EvsAggregate
{
	EvsDefinition definition;
	Oid			apply;			/* function (state, event), or aggregate (event) */
	bool		is_sql_aggregate;	/* the latter */
	Oid			state_type;
	int16		state_length;	/* how to copy a state */
	bool		state_by_value;
	char	   *initial_state;	/* in text form; NULL is NULL */
	Datum		initial_value;	/* the same, unless NULL */
	char	   *hash;			/* changes when a state may be another for the same events */
} EvsAggregate;

extern const EvsAggregate *evs_aggregate_open(Oid event_table, const text *stream);
extern Datum evs_aggregate_state_in(Oid type, const char *state, bool *isnull);

#endif							/* EVSTORE_DOMAIN_AGGREGATE_H */
