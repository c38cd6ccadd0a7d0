/*
 * reshape.h
 *		Giving what is stored of a query the columns and the key of another.
 */
#ifndef EVSTORE_RESHAPE_H
#define EVSTORE_RESHAPE_H

#include "project/projection.h"
#include "project/readview.h"

/* What changes of the table that a query is stored in, and of the view over it. */
typedef struct EvsReshape
{
	Oid			table;
	List	   *gone;			/* numbers of columns that go */
	List	   *added;			/* of char *: columns that come, each with its type */
	bool		new_key;
	Oid			old_key;		/* the unique index that goes, if it is there */
	const char *keys;			/* of the new one */
	bool		emptied;		/* no row stays */
	EvsReadView *view;			/* NULL if the read table is, and will be, that table */
} EvsReshape;

extern EvsReshape *evs_reshape_plan(const EvsProjection *original, const EvsProjection *replacement);
extern void evs_reshape_check(const EvsReshape *plan, Oid owner);
extern void evs_reshape_columns(const EvsReshape *plan);
extern Oid	evs_reshape_finish(const EvsReshape *plan);

#endif							/* EVSTORE_RESHAPE_H */
