/*
 * reshape.h
 *		Giving the read table of a query the columns and the key of another.
 */
#ifndef EVSTORE_RESHAPE_H
#define EVSTORE_RESHAPE_H

#include "project/projection.h"

/* What of a read table changes. */
typedef struct EvsReshape
{
	Oid			read_table;
	char	   *name;			/* qualified and quoted */
	List	   *gone;			/* numbers of columns that go */
	List	   *added;			/* of char *: columns that come, each with its type */
	bool		new_key;
	Oid			old_key;		/* the unique constraint that goes, if it is there */
	const char *keys;			/* of the new one */
} EvsReshape;

extern EvsReshape *evs_reshape_plan(const EvsProjection *original, const EvsProjection *replacement);
extern void evs_reshape_check(const EvsReshape *plan);
extern void evs_reshape_columns(const EvsReshape *plan);
extern void evs_reshape_key(const EvsReshape *plan);

#endif							/* EVSTORE_RESHAPE_H */
