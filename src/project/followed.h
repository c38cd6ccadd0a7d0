/*
 * followed.h
 *		Event tables that projections follow, which are not dropped from under them.
 */
#ifndef EVSTORE_FOLLOWED_H
#define EVSTORE_FOLLOWED_H

#include "catalog/objectaccess.h"
#include "nodes/nodes.h"

extern void evs_followed_check_utility(Node *statement);
extern void evs_followed_check_object(ObjectAccessType access, Oid class, Oid object, int sub);

#endif							/* EVSTORE_FOLLOWED_H */
