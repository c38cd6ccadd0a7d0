/*
 * fit.c
 *		Whether JSON fits a composite type.
 *
 * An object fits if jsonb_populate_record() could make a row of it, and if it
 * has no key that the type has no attribute for. A key that is missing is null,
 * as there; a domain that is NOT NULL, or has a CHECK, says more. (The CHECK of
 * a domain over an array or a row is not asked.) Unlike there, an array is an
 * array of one dimension, and a row an object: neither is read from a string,
 * and no string from them.
 *
 * What does not fit is told by its path, as in $.lines[2].price. The server's
 * own input functions are asked about single values, and complain by an error:
 * it is caught, and the path added. Nothing is done after such an error but to
 * raise another, so no subtransaction is needed.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "store/fit.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

/* What is being looked at. */
typedef struct Fit
{
	StringInfoData path;
	char	   *wrong;			/* with what stands at the path; NULL as long as all is well */
} Fit;

static bool fit_value(Fit *fit, const JsonbValue *value, Oid type, int32 typmod);

/* Something does not fit. */
static bool
misfit(Fit *fit, const char *wrong)
{
	fit->wrong = psprintf("At %s: %s.", fit->path.data, wrong);
	return false;
}

/* What a JSON value is. */
static const char *
kind_of(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		default:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
	}
}

/* Go on to a part of what is being looked at. Returns where to come back to. */
static int
enter(Fit *fit, const char *part)
{
	int			outer = fit->path.len;

	appendStringInfoString(&fit->path, part);
	return outer;
}

/* Come back. */
static void
leave(Fit *fit, int outer)
{
	fit->path.len = outer;
	fit->path.data[outer] = '\0';
}

/* Refuse an object with a key that the type has no attribute for. */
static bool
fit_keys(Fit *fit, JsonbContainer *object, TupleDesc desc)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		bool		found = false;

		if (token != WJB_KEY)
			continue;
		for (int i = 0; i < desc->natts && !found; i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(desc, i);

			found = !attribute->attisdropped && strlen(NameStr(attribute->attname)) == value.val.string.len &&
				memcmp(NameStr(attribute->attname), value.val.string.val, value.val.string.len) == 0;
		}
		if (!found)
		{
			(void) enter(fit, psprintf(".%s", pnstrdup(value.val.string.val, value.val.string.len)));
			return misfit(fit, psprintf("type %s has no such attribute", format_type_be(desc->tdtypeid)));
		}
	}
	return true;
}

/* Does an object fit a row? */
static bool
fit_row(Fit *fit, const JsonbValue *value, Oid type)
{
	static const JsonbValue missing = {.type = jbvNull};
	TupleDesc	desc;
	bool		fits;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return misfit(fit, psprintf("%s is no object, as type %s wants", kind_of(value), format_type_be(type)));
	desc = lookup_rowtype_tupdesc_copy(type, -1);
	fits = fit_keys(fit, value->val.binary.data, desc);
	for (int i = 0; i < desc->natts && fits; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const char *name = NameStr(attribute->attname);
		JsonbValue	buffer;
		JsonbValue *member;
		int			outer;

		if (attribute->attisdropped)
			continue;
		outer = enter(fit, psprintf(".%s", name));
		member = getKeyJsonValueFromContainer(value->val.binary.data, name, strlen(name), &buffer);
		fits = fit_value(fit, member ? member : &missing, attribute->atttypid, attribute->atttypmod);
		if (fits)
			leave(fit, outer);
	}
	FreeTupleDesc(desc);
	return fits;
}

/* Does an array fit? */
static bool
fit_array(Fit *fit, const JsonbValue *value, Oid type, Oid element, int32 typmod)
{
	JsonbContainer *array = value->val.binary.data;

	if (value->type != jbvBinary || !JsonContainerIsArray(array))
		return misfit(fit, psprintf("%s is no array, as type %s wants", kind_of(value), format_type_be(type)));
	for (uint32 i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(array, i);
		int			outer = fit->path.len;

		appendStringInfo(&fit->path, "[%u]", i);
		if (!fit_value(fit, item, element, typmod))
			return false;
		leave(fit, outer);
		pfree(item);
	}
	return true;
}

/* Does a value fit a type that is read from text? */
static bool
fit_scalar(Fit *fit, const JsonbValue *value, Oid type, int32 typmod)
{
	Oid			input;
	Oid			parameter;
	char	   *string;

	if (value->type == jbvBinary)
		return misfit(fit, psprintf("%s is no value of type %s", kind_of(value), format_type_be(type)));
	if (value->type == jbvString)
		string = pnstrdup(value->val.string.val, value->val.string.len);
	else if (value->type == jbvBool)
		string = pstrdup(value->val.boolean ? "true" : "false");
	else
		string = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	getTypeInputInfo(type, &input, &parameter);
	(void) OidInputFunctionCall(input, string, parameter, typmod);
	pfree(string);
	return true;
}

/* Does a value fit a type? */
static bool
fit_value(Fit *fit, const JsonbValue *value, Oid type, int32 typmod)
{
	Oid			base = getBaseTypeAndTypmod(type, &typmod);
	Oid			element = get_element_type(base);

	check_stack_depth();
	if (base != type && value->type == jbvNull)
		domain_check((Datum) 0, true, type, NULL, NULL);
	if (base != type && base == JSONBOID && value->type != jbvNull)
		domain_check(JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *, value))), false, type, NULL, NULL);
	if (value->type == jbvNull || base == JSONBOID || base == JSONOID)
		return true;
	if (OidIsValid(element))
		return fit_array(fit, value, base, element, typmod);
	if (type_is_rowtype(base))
		return fit_row(fit, value, base);
	/* The input function of a domain asks the domain as well. */
	return base != type ? fit_scalar(fit, value, type, -1) : fit_scalar(fit, value, base, typmod);
}

/* The JSON value that a whole document is. */
static JsonbValue
whole(Jsonb *data)
{
	JsonbValue	value = {.type = jbvBinary};

	if (JB_ROOT_IS_SCALAR(data))
		(void) JsonbExtractScalar(&data->root, &value);
	else
	{
		value.val.binary.data = &data->root;
		value.val.binary.len = VARSIZE(data);
	}
	return value;
}

/* What is wrong with data that do not fit a composite type; NULL if they fit. */
char *
evs_fit(Jsonb *data, Oid type)
{
	MemoryContext caller = CurrentMemoryContext;
	Fit			fit = {0};
	JsonbValue	value = whole(data);

	initStringInfo(&fit.path);
	appendStringInfoChar(&fit.path, '$');
	PG_TRY();
	{
		(void) fit_row(&fit, &value, type);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		(void) misfit(&fit, error->message);
	}
	PG_END_TRY();
	return fit.wrong;
}
