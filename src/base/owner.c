/*
 * owner.c
 *		Running SQL as somebody else, with no more rights than theirs.
 *
 * Both security flags are set: the user cannot be switched back from inside,
 * and nothing can be left behind that would run later under the worker's own
 * rights (in PostgreSQL up to 17 a deferred trigger fires at COMMIT as whoever
 * commits). Settings that decide what a statement means are pinned, each to
 * its value when the projection was declared.
 *
 * An error between begin and end needs no clean-up: aborting the transaction
 * puts user and settings back.
 */
#include "evstore.h"

#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/*
 * Settings, besides search_path, that anybody may set, and that change what a
 * statement or an expression yields, or which events a function appends to, and
 * in which shape it reads them.
 */
static const char *const pinned_settings[] = {
	"TimeZone", "DateStyle", "IntervalStyle", "extra_float_digits", "bytea_output", "default_text_search_config",
	"lc_numeric", "lc_monetary", "lc_time", "array_nulls", "transform_null_equals", "standard_conforming_strings",
	"xmloption", "evstore.event_table", "evstore.raw",
};

/* Set a setting until the frame ends. */
void
evs_owner_pin(const char *name, const char *value)
{
	/* Workers begin with the safe path and the server's defaults: mostly there is nothing to do. */
	if (strcmp(GetConfigOption(name, false, false), value) == 0)
		return;
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Become "owner", under settings captured earlier, each as name=value. */
void
evs_owner_begin(EvsOwnerFrame *frame, Oid owner, ArrayType *settings)
{
	GetUserIdAndSecContext(&frame->saved_user, &frame->saved_context);
	frame->guc_level = NewGUCNestLevel();

	if (settings)
	{
		Datum	   *items;
		int			count;

		deconstruct_array(settings, TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &count);
		for (int i = 0; i < count; i++)
		{
			char	   *name = TextDatumGetCString(items[i]);
			char	   *value = strchr(name, '=');

			if (value == NULL)
				elog(ERROR, "malformed captured setting \"%s\"", name);
			*value++ = '\0';
			evs_owner_pin(name, value);
		}
	}
	else
		evs_owner_pin("search_path", EVS_SAFE_SEARCH_PATH);

	SetUserIdAndSecContext(owner, frame->saved_context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
}

/* Become the extension's owner, to touch the extension's own tables. */
void
evs_owner_begin_extension(EvsOwnerFrame *frame)
{
	evs_owner_begin(frame, evs_catalog()->owner, NULL);
}

/* Run a statement on the extension's own tables, as their owner. Call inside SPI. */
void
evs_owner_run_extension(const char *sql, int count, Oid *types, Datum *values, const char *nulls, int expected)
{
	EvsOwnerFrame frame;
	int			result;

	evs_owner_begin_extension(&frame);
	result = SPI_execute_with_args(sql, count, types, values, nulls, false, 0);
	if (result != expected)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
	evs_owner_end(&frame);
}

/* Become oneself again. */
void
evs_owner_end(EvsOwnerFrame *frame)
{
	AtEOXact_GUC(false, frame->guc_level);
	SetUserIdAndSecContext(frame->saved_user, frame->saved_context);
}

/*
 * The caller's search_path, resolved to the schemas it means now, with the
 * temporary schema last, where it cannot capture a name.
 */
static char *
current_search_path(void)
{
	StringInfoData path;
	ListCell   *cell;

	initStringInfo(&path);
	foreach(cell, fetch_search_path(false))
	{
		char	   *schema = get_namespace_name(lfirst_oid(cell));

		if (schema && !isAnyTempNamespace(lfirst_oid(cell)))
			appendStringInfo(&path, "%s, ", quote_identifier(schema));
	}
	appendStringInfoString(&path, "pg_temp");
	return path.data;
}

/*
 * The caller's settings as evs_owner_begin() takes them. Text in which every
 * name is qualified needs no search_path but the safe one.
 */
ArrayType *
evs_owner_capture_settings(bool with_search_path)
{
	Datum		items[1 + lengthof(pinned_settings)];

	items[0] = CStringGetTextDatum(psprintf("search_path=%s", with_search_path ?
											current_search_path() : EVS_SAFE_SEARCH_PATH));
	for (int i = 0; i < lengthof(pinned_settings); i++)
		items[1 + i] = CStringGetTextDatum(psprintf("%s=%s", pinned_settings[i],
													GetConfigOption(pinned_settings[i], false, false)));

	return construct_array(items, lengthof(items), TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * The caller's search_path alone, for a function that is called within whatever
 * statement: there, the other settings are the statement's.
 */
ArrayType *
evs_owner_capture_search_path(void)
{
	Datum		item = CStringGetTextDatum(psprintf("search_path=%s", current_search_path()));

	return construct_array(&item, 1, TEXTOID, -1, false, TYPALIGN_INT);
}

/* The same settings, with a schema before all others on the search_path. */
ArrayType *
evs_owner_settings_with_schema(ArrayType *settings, const char *schema)
{
	Datum	   *items;
	int			count;

	deconstruct_array(settings, TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *setting = TextDatumGetCString(items[i]);

		if (strncmp(setting, "search_path=", 12) == 0)
			items[i] = CStringGetTextDatum(psprintf("search_path=%s, %s", quote_identifier(schema), setting + 12));
	}
	return construct_array(items, count, TEXTOID, -1, false, TYPALIGN_INT);
}
