/*
 * dependent.h
 *		Keeping an event table while something is declared for it.
 */
#ifndef EVSTORE_DEPENDENT_H
#define EVSTORE_DEPENDENT_H

#include "catalog/objectaccess.h"
#include "nodes/nodes.h"

extern void evs_dependent_check_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg);
extern void evs_dependent_check_utility(Node *statement);

#endif							/* EVSTORE_DEPENDENT_H */
