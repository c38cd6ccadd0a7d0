/*
 * definition.c
 *		What the declarations of aggregates and of commands have in common.
 *
 * Both are rows that name functions of users, each kept in a view (called.c).
 * Backends keep what they have read until a function or a type changes; making
 * and dropping the view, which has a row type, is such a change. A change of the
 * columns of a row type is none to the type, and is looked for at each use. An
 * entry that somebody is using when that happens lives on, retired, until nobody
 * uses any.
 */
#include "evstore.h"

#include "base/called.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "domain/definition.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static List *known = NIL;		/* of EvsDefinition; up to date unless "stale" */
static List *retired = NIL;		/* of EvsDefinition that were in use when they became stale */
static bool stale = false;
static int	users = 0;			/* calls of evs_definition_open() that were not closed yet */

/* Something that a definition is made of has changed. */
static void
on_change(Datum arg, int cacheid, uint32 hashvalue)
{
	stale = true;
}

/* Have changes noticed; called once, from _PG_init. */
void
evs_definition_install(void)
{
	CacheRegisterSyscacheCallback(PROCOID, on_change, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, on_change, (Datum) 0);
}

/* After an error, nobody closed what was open. */
static void
definition_finished(bool committed)
{
	users = 0;
}

const EvsXactSubscriber evs_definition_xact = {.finished = definition_finished};

/* Free what nobody can be using any more. */
static void
free_retired(void)
{
	ListCell   *cell;

	foreach(cell, retired)
	{
		EvsDefinition *definition = lfirst(cell);

		if (definition->plan)
			SPI_freeplan(definition->plan);
		MemoryContextDelete(definition->context);
	}
	list_free(retired);
	retired = NIL;
}

/* Forget what may not be true any more. */
static void
forget_stale(void)
{
	MemoryContext caller;

	if (users == 0)
		free_retired();
	if (!stale)
		return;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	retired = list_concat(retired, known);
	MemoryContextSwitchTo(caller);
	list_free(known);
	known = NIL;
	stale = false;
	if (users == 0)
		free_retired();
}

/* Length of the category in the name of a stream: what stands before the first "-". */
static int
category_length(const text *stream)
{
	const char *name = VARDATA_ANY(stream);
	const char *dash = memchr(name, '-', VARSIZE_ANY_EXHDR(stream));

	return dash ? dash - name : VARSIZE_ANY_EXHDR(stream);
}

/* Is this the definition that is looked for? */
static bool
is_it(const EvsDefinition *definition, const EvsDefinition *key)
{
	if (definition->event_table != key->event_table || strcmp(definition->category, key->category) != 0)
		return false;
	if (definition->name == NULL || key->name == NULL)
		return definition->name == key->name;
	return strcmp(definition->name, key->name) == 0;
}

/* A number that changes with the columns of a row type, and only ever grows. */
uint64
evs_definition_row_version(Oid type)
{
	return assign_record_type_identifier(type, -1);
}

/* Have the rows that a definition deals in the columns that they had? */
static bool
is_current(const EvsDefinition *definition)
{
	uint64		version = 0;
	ListCell   *cell;

	foreach(cell, definition->row_types)
		version += evs_definition_row_version(lfirst_oid(cell));
	return version == definition->row_version;
}

/* Read a definition, in a memory context of its own, and keep it; NULL if there is none. */
static EvsDefinition *
read_and_keep(const EvsDefinition *key, EvsDefinitionReader read)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "evstore definition", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EvsDefinition *definition = read(key);

	if (definition)
	{
		definition->event_table = key->event_table;
		definition->category = pstrdup(key->category);
		definition->name = key->name ? pstrdup(key->name) : NULL;
		definition->context = context;
		MemoryContextSetParent(context, TopMemoryContext);
		MemoryContextSwitchTo(TopMemoryContext);
		known = lappend(known, definition);
	}
	MemoryContextSwitchTo(caller);
	if (definition == NULL)
		MemoryContextDelete(context);
	return definition;
}

/*
 * The definition of a name, NULL for the aggregate, for the streams of a
 * stream's category. It stays what it is until it is closed. NULL if there is
 * none.
 */
EvsDefinition *
evs_definition_open(Oid event_table, const text *stream, const char *name, EvsDefinitionReader read)
{
	EvsDefinition key = {
		.event_table = event_table,
		.category = pnstrdup(VARDATA_ANY(stream), category_length(stream)),
		.name = (char *) name,
	};
	EvsDefinition *definition = NULL;
	ListCell   *cell;

	forget_stale();
	foreach(cell, known)
		if (is_it(lfirst(cell), &key))
			definition = lfirst(cell);
	if (definition && !is_current(definition))
	{
		stale = true;
		forget_stale();
		definition = NULL;
	}
	if (definition == NULL)
		definition = read_and_keep(&key, read);
	if (definition)
		users++;
	return definition;
}

/* The counterpart of evs_definition_open(). */
void
evs_definition_close(void)
{
	users--;
}

/* Refuse a category that no stream can have. */
char *
evs_definition_category(FunctionCallInfo fcinfo, int argument)
{
	char	   *category = evs_called_text(fcinfo, argument, "the category");

	if (*category == '\0' || strchr(category, '-') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a category", category),
				 errdetail("The category of a stream is what stands before the first \"-\" of its name.")));
	return category;
}
