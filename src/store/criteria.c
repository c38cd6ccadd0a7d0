/*
 * criteria.c
 *		Criteria: which events are meant, by type and by tag.
 *
 * This is the query of a dynamic consistency boundary (dcb.events), written as
 * {"items": [{"types": [...], "tags": [...]}, ...]}: an event is meant if for
 * any item it has any of the types and all of the tags. {} means every event.
 */
#include "evstore.h"

#include "catalog/pg_type.h"
#include "store/criteria.h"
#include "store/event.h"
#include "utils/builtins.h"

/* Complain about the JSON. */
static void
malformed(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the query is not valid"),
			 errdetail("%s", detail),
			 errhint("A query is {\"items\": [{\"types\": [...], \"tags\": [...]}, ...]}, or {} for every event.")));
}

/* One list of an item, "types" or "tags". */
static ArrayType *
strings(const JsonbValue *value)
{
	ArrayType  *array = evs_strings_from_json(value);

	if (array == NULL)
		malformed("\"types\" and \"tags\" must be arrays of strings.");
	if (ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) == 0)
		malformed("An array of types or tags must not be empty; leave it out if it does not matter.");
	return array;
}

/* One item. */
static void
criterion_from_json(const JsonbValue *object, EvsCriterion *criterion)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		malformed("Each item must be an object.");

	criterion->types = criterion->tags = NULL;
	iterator = JsonbIteratorInit(object->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		ArrayType **list = NULL;

		if (token != WJB_KEY)
			continue;
		if (value.val.string.len == strlen("types") && strncmp(value.val.string.val, "types", 5) == 0)
			list = &criterion->types;
		else if (value.val.string.len == strlen("tags") && strncmp(value.val.string.val, "tags", 4) == 0)
			list = &criterion->tags;
		else
			malformed("An item has no keys but \"types\" and \"tags\".");
		(void) JsonbIteratorNext(&iterator, &value, true);
		*list = strings(&value);
	}
	if (criterion->types == NULL && criterion->tags == NULL)
		malformed("An item must have \"types\" or \"tags\".");
}

/* Criteria from JSON. */
void
evs_criteria_from_json(Jsonb *json, EvsCriteria *criteria)
{
	JsonbValue	buffer;
	JsonbValue *items;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	criteria->count = 0;
	criteria->items = NULL;
	if (!JB_ROOT_IS_OBJECT(json))
		malformed("It must be an object.");
	if (JB_ROOT_COUNT(json) == 0)
		return;

	items = getKeyJsonValueFromContainer(&json->root, "items", strlen("items"), &buffer);
	if (items == NULL || JB_ROOT_COUNT(json) != 1)
		malformed("It has no key but \"items\".");
	if (items->type != jbvBinary || !JsonContainerIsArray(items->val.binary.data) ||
		JsonContainerIsScalar(items->val.binary.data))
		malformed("\"items\" must be an array.");
	if (JsonContainerSize(items->val.binary.data) == 0)
		malformed("\"items\" must not be empty.");

	criteria->items = palloc_array(EvsCriterion, JsonContainerSize(items->val.binary.data));
	iterator = JsonbIteratorInit(items->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			criterion_from_json(&value, &criteria->items[criteria->count++]);
}

/*
 * The stripes under which every event that meets the criteria is added. An
 * event with all of an item's tags is added under each of them, so one will do;
 * an item without tags needs those of all its types.
 */
void
evs_criteria_want_stripes(const EvsCriteria *criteria, EvsStripes *stripes)
{
	if (criteria->count == 0)
		evs_stripes_check_all_types(stripes);
	for (int i = 0; i < criteria->count; i++)
	{
		const EvsCriterion *item = &criteria->items[i];
		Datum	   *names;
		int			count;

		deconstruct_array(item->tags ? item->tags : item->types, TEXTOID, -1, false, TYPALIGN_INT,
						  &names, NULL, &count);
		if (item->tags)
			count = 1;
		for (int j = 0; j < count; j++)
		{
			text	   *name = DatumGetTextPP(names[j]);

			evs_stripes_want(stripes, item->tags ? EVS_STRIPE_TAG : EVS_STRIPE_TYPE, EVS_STRIPE_CHECK,
							 VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
		}
	}
}

/* How many parameters the criteria are in SQL. */
int
evs_criteria_parameter_count(const EvsCriteria *criteria)
{
	int			count = 0;

	for (int i = 0; i < criteria->count; i++)
		count += (criteria->items[i].types != NULL) + (criteria->items[i].tags != NULL);
	return count;
}

/*
 * Add the criteria to the WHERE clause of a statement over an event table, or
 * over a view of it whose columns have a prefix; the parameters, from $first on,
 * are put into the two arrays.
 */
void
evs_criteria_sql(const EvsCriteria *criteria, StringInfo sql, const char *prefix, int first, Oid *types, Datum *values)
{
	int			number = first;

	for (int i = 0; i < criteria->count; i++)
	{
		const EvsCriterion *item = &criteria->items[i];

		appendStringInfoString(sql, i == 0 ? " AND (" : " OR ");
		if (item->types)
		{
			types[number - 1] = TEXTARRAYOID;
			values[number - 1] = PointerGetDatum(item->types);
			appendStringInfo(sql, "%stype OPERATOR(pg_catalog.=) ANY ($%d)", prefix, number++);
		}
		if (item->tags)
		{
			types[number - 1] = TEXTARRAYOID;
			values[number - 1] = PointerGetDatum(item->tags);
			appendStringInfo(sql, "%s%stags OPERATOR(pg_catalog.@>) $%d", item->types ? " AND " : "", prefix, number++);
		}
	}
	if (criteria->count > 0)
		appendStringInfoChar(sql, ')');
}
