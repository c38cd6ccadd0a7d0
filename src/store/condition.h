/*
 * condition.h
 *		The condition of an append: no such event after a position.
 */
#ifndef EVSTORE_CONDITION_H
#define EVSTORE_CONDITION_H

#include "store/criteria.h"
#include "store/table.h"

typedef struct EvsCondition
{
	EvsCriteria criteria;
	EvsPosition after;			/* 0: there is none at all */
} EvsCondition;

extern void evs_condition_check(const EvsCondition *condition, EvsTable *table, Relation rel);

#endif							/* EVSTORE_CONDITION_H */
