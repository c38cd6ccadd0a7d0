/*
 * projection.h
 *		A projection as it is declared.
 */
#ifndef EVSTORE_PROJECTION_H
#define EVSTORE_PROJECTION_H

#include "base/xact.h"
#include "utils/array.h"

/* A row of evstore._projection, as far as applying it needs. */
typedef struct EvsProjection
{
	int			id;
	char	   *name;
	bool		is_query;		/* a query projection, or a statement projection */
	Oid			owner;
	Oid			event_table;
	Oid			read_table;		/* InvalidOid if a statement declared none */
	char	   *batch_sql;
	ArrayType  *settings;		/* see owner.c */
	int			batch_size;		/* positions a batch spans at most */
} EvsProjection;

extern const EvsXactSubscriber evs_projection_xact;

extern EvsProjection *evs_projection_load(int id);
extern int	evs_projection_find(const char *name, Oid *owner);

#endif							/* EVSTORE_PROJECTION_H */
