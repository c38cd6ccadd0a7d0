/*
 * kept.h
 *		The projections of a database, for whoever waits for them.
 */
#ifndef EVSTORE_KEPT_H
#define EVSTORE_KEPT_H

#include "nodes/pg_list.h"

typedef struct EvsKept
{
	int			projection;
	char	   *name;
	Oid			read_table;		/* the table behind it if it is a view; InvalidOid if none was declared */
	bool		is_inline;		/* kept by whoever appends, not by workers */
	EvsPosition checkpoint;		/* one that workers keep has applied at least so far */
} EvsKept;

extern List *evs_kept_list(void);

#endif							/* EVSTORE_KEPT_H */
