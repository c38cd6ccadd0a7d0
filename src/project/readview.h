/*
 * readview.h
 *		The view that is the read table of a query which computes.
 */
#ifndef EVSTORE_READVIEW_H
#define EVSTORE_READVIEW_H

#include "project/projection.h"
#include "project/state.h"

/* How the read table of a query changes where it is a view, or becomes one, or is one no more. */
typedef struct EvsReadView
{
	Oid			read_table;		/* as it is */
	Oid			state_table;	/* what is stored, before and after */
	Oid			schema;			/* of the read table, before and after */
	char	   *relation;		/* its name */
	char	   *name;			/* both, qualified and quoted */
	char	   *table_name;		/* of the stored table, then */
	bool		was_view;
	Oid			built;			/* the new view, over the rebuild's table; InvalidOid if there is to be none */
	bool		stays;			/* the view gets new columns, if any, behind its own, and so can stay the same view */
	List	   *columns;		/* of char *: of the new view, in order, quoted */
	char	   *options;		/* "WITH (...)" of the view */
	List	   *properties;		/* of EvsProperty: what else it is to keep */
} EvsReadView;

extern Oid	evs_read_view_create(const EvsState *state, Oid table, Oid schema, const char *name);
extern EvsReadView *evs_read_view_plan(const EvsProjection *original, const EvsProjection *replacement);
extern void evs_read_view_check(const EvsReadView *view, Oid owner);
extern void evs_read_view_detach(EvsReadView *view);
extern Oid	evs_read_view_attach(const EvsReadView *view);

#endif							/* EVSTORE_READVIEW_H */
