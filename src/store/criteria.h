/*
 * criteria.h
 *		Criteria: which events are meant, by type and by tag.
 */
#ifndef EVSTORE_CRITERIA_H
#define EVSTORE_CRITERIA_H

#include "lib/stringinfo.h"
#include "store/stripe.h"
#include "utils/array.h"
#include "utils/jsonb.h"

/* Events of any of the types that have all of the tags; NULL where it does not matter. */
typedef struct EvsCriterion
{
	ArrayType  *types;
	ArrayType  *tags;
} EvsCriterion;

/* Events that meet any criterion; every event where there is none. */
typedef struct EvsCriteria
{
	int			count;
	EvsCriterion *items;
} EvsCriteria;

extern void evs_criteria_from_json(Jsonb *json, EvsCriteria *criteria);
extern void evs_criteria_want_stripes(const EvsCriteria *criteria, EvsStripes *stripes);
extern int	evs_criteria_parameter_count(const EvsCriteria *criteria);
extern void evs_criteria_sql(const EvsCriteria *criteria, StringInfo sql, const char *prefix, int first,
							 Oid *types, Datum *values);

#endif							/* EVSTORE_CRITERIA_H */
