/*
 * called.h
 *		Functions of users that are called for what they have declared.
 */
#ifndef EVSTORE_CALLED_H
#define EVSTORE_CALLED_H

#include "fmgr.h"

extern char *evs_called_text(FunctionCallInfo fcinfo, int argument, const char *name);
extern void evs_called_check_table_owner(Oid event_table);
extern void evs_called_check_owner(Oid owner, const char *what, const char *name);
extern void evs_called_check_may_call(Oid function, Oid role);
extern Oid	evs_called_find_function(const char *name, int count, int argument, Oid type, char kind);
extern Oid	evs_called_in_view(const char *view, const char *what, bool *is_aggregate, Oid *type);
extern void evs_called_drop_view(const char *view);

#endif							/* EVSTORE_CALLED_H */
