/*
 * definition.c
 *		What the declarations of aggregates and of commands have in common.
 *
 * Both are rows that name functions of users. What they name is kept in a view
 * that calls it and is never read: so the server follows its renames, keeps it
 * from being dropped, and dumps it.
 *
 * Backends keep what they have read until a function or a type changes; making
 * and dropping the view, which has a row type, is such a change. An entry that
 * somebody is using when that happens lives on, retired, until nobody uses any.
 */
#include "evstore.h"

#include "access/table.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "domain/definition.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

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

/* Drop a view of ours, which may have gone with the function that it calls. Call inside SPI. */
void
evs_definition_drop_view(const char *view)
{
	if (OidIsValid(get_relname_relid(view, evs_catalog()->schema)))
		evs_owner_run_extension(psprintf("DROP VIEW evstore.%s", view), 0, NULL, NULL, NULL, SPI_OK_UTILITY);
}

/* A text argument that must not be null; "name" says which. */
char *
evs_definition_text(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* Refuse a category that no stream can have. */
char *
evs_definition_category(FunctionCallInfo fcinfo, int argument)
{
	char	   *category = evs_definition_text(fcinfo, argument, "the category");

	if (*category == '\0' || strchr(category, '-') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a category", category),
				 errdetail("The category of a stream is what stands before the first \"-\" of its name.")));
	return category;
}

/* Refuse whoever does not own the event table. */
void
evs_definition_check_table_owner(Oid event_table)
{
	if (!EVS_OWNS_TABLE(event_table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(event_table));
}

/* Refuse whoever has not the rights of a definition's owner. */
void
evs_definition_check_owner(Oid owner, const char *what, const char *name)
{
	if (!superuser() && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of %s \"%s\"", what, name)));
}

/* Refuse a role that may not call a function. */
void
evs_definition_check_may_call(Oid function, Oid role)
{
	if (EVS_FUNCTION_ACLCHECK(function, role, ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(function));
}

/*
 * The function that a view of ours calls, or the aggregate, and the type of what
 * that returns. InvalidOid if somebody has dropped it with CASCADE.
 */
Oid
evs_definition_called(const char *view, const char *what, bool *is_aggregate, Oid *type)
{
	Oid			relid = get_relname_relid(view, evs_catalog()->schema);
	Relation	rel;
	Node	   *call;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the function of %s was dropped", what),
				 errhint("Drop the definition as well, and create it again.")));
	rel = table_open(relid, AccessShareLock);
	call = (Node *) linitial_node(TargetEntry, get_view_query(rel)->targetList)->expr;
	*is_aggregate = IsA(call, Aggref);
	*type = exprType(call);
	table_close(rel, AccessShareLock);
	return *is_aggregate ? ((Aggref *) call)->aggfnoid : ((FuncExpr *) call)->funcid;
}

/*
 * The function of a kind and a name, of so many arguments of which one is of a
 * type; InvalidOid if there is none. Two of them are an error.
 */
Oid
evs_definition_find_function(const char *name, int count, int argument, Oid type, char kind)
{
	FuncCandidateList candidate = FuncnameGetCandidates(EVS_QUALIFIED_NAME(name), count, NIL, false, false, false, true);
	Oid			found = InvalidOid;

	for (; candidate; candidate = candidate->next)
	{
		if (candidate->nargs != count || candidate->args[argument] != type ||
			get_func_prokind(candidate->oid) != kind)
			continue;
		if (OidIsValid(found))
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
					 errmsg("function name \"%s\" is not unique", name),
					 errhint("Give the types of its arguments as well, as in %s.", format_procedure(found))));
		found = candidate->oid;
	}
	return found;
}
