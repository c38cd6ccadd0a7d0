/*
 * replace.c
 *		Changing what a projection is: evstore.replace_projection().
 *
 * A replacement is a rebuild (rebuild.c) with another definition. It is compiled
 * and tried at once, under the settings of the caller and with the rights of the
 * projection's owner, who will run it. What stands in its way later is an error
 * of the rebuild; until it is put in place, the projection is what it was.
 */
#include "evstore.h"

#include "base/owner.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "project/declare.h"
#include "project/handler.h"
#include "project/mode.h"
#include "project/query.h"
#include "project/readview.h"
#include "project/rebuild.h"
#include "project/reshape.h"
#include "project/shadow.h"
#include "project/shard.h"
#include "project/source.h"
#include "project/statement.h"
#include "utils/builtins.h"

/* Arguments of replace_projection(). */
enum
{
	ARG_NAME, ARG_QUERY, ARG_STATEMENT, ARG_HANDLER, ARG_HANDLERS, ARG_READ_TABLES
};

PG_FUNCTION_INFO_V1(evs_replace_projection);

/* What is declared now, as text, and of which kind. */
static char *
new_definition(FunctionCallInfo fcinfo, EvsProjectionKind *kind)
{
	int			argument = !PG_ARGISNULL(ARG_QUERY) ? ARG_QUERY :
		!PG_ARGISNULL(ARG_STATEMENT) ? ARG_STATEMENT : ARG_HANDLER;

	if (!PG_ARGISNULL(ARG_QUERY) + !PG_ARGISNULL(ARG_STATEMENT) +
		!PG_ARGISNULL(ARG_HANDLER) + !PG_ARGISNULL(ARG_HANDLERS) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a projection has a query, a statement, a handler or handlers, and only one of them")));
	*kind = argument == ARG_QUERY ? EVS_QUERY : argument == ARG_STATEMENT ? EVS_STATEMENT : EVS_HANDLER;
	if (!PG_ARGISNULL(ARG_HANDLERS))
		return JsonbToCString(NULL, &PG_GETARG_JSONB_P(ARG_HANDLERS)->root, 0);
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* A query makes and shapes its read table; the tables of others are theirs. */
static void
check_kind(const EvsProjection *original, EvsProjectionKind kind)
{
	if ((original->kind == EVS_QUERY) != (kind == EVS_QUERY))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg(kind == EVS_QUERY ? "cannot replace a statement or handler by a query" :
						"cannot replace a query by a statement or handler"),
				 errhint("Create another projection.")));
}

/* The view that the read table is to be, over the table that is filled meanwhile. As the projection's owner, inside SPI. */
static Oid
create_view(const EvsState *state, const EvsProjection *replacement)
{
	Oid			schema = get_namespace_oid(evs_projection_shadow(replacement->id), false);
	EvsOwnerFrame frame;
	Oid			view;

	evs_owner_begin(&frame, replacement->owner, NULL);
	view = evs_read_view_create(state, replacement->state_table, schema, "evstore view");
	evs_owner_end(&frame);
	return view;
}

/* Compile a query, and make what it is built in. Call inside SPI, as the projection's owner. */
static void
replace_query(const EvsProjection *original, EvsProjection *replacement)
{
	EvsCompiledQuery *query = evs_query_compile(replacement->definition);
	EvsReshape *plan;
	ListCell   *cell;

	replacement->settings = evs_owner_capture_settings(false);
	replacement->event_tables = query->event_tables;
	replacement->event_table = linitial_oid(query->event_tables);
	replacement->columns = query->columns;
	replacement->keys = query->keys;
	replacement->on_conflict = query->on_conflict;
	replacement->ordered = query->ordered;
	replacement->batch_size = EVS_REBUILD_BATCH_SIZE;
	replacement->read_table = replacement->state_table =
		evs_rebuild_create_table(replacement, query->select);
	if (query->state)
		replacement->read_table = create_view(query->state, replacement);
	replacement->read_tables = list_make1_oid(replacement->read_table);
	foreach(cell, query->event_tables)
		evs_projection_check_policies(lfirst_oid(cell), replacement->owner);
	/* It is built as a whole, and is to serve the shards then. */
	evs_projection_insert(replacement, original->shards > 1 ? evs_shard_divide(query->select, EVS_QUERY) : query->select);
	evs_rebuild_inherit(replacement);
	evs_shadow_close_schema(evs_projection_shadow(replacement->id), replacement->owner);
	plan = evs_reshape_plan(original, replacement);
	if (plan)
		evs_reshape_check(plan, original->owner);
}

/* Try a statement or the calls of a handler, and make copies of the tables. Call inside SPI, as the projection's owner. */
static void
replace_others(FunctionCallInfo fcinfo, const EvsProjection *original, EvsProjection *replacement)
{
	char	   *select = NULL;
	ListCell   *cell;

	foreach(cell, original->event_tables)
		evs_source_lock(lfirst_oid(cell), false);
	replacement->settings = evs_owner_capture_settings(true);
	if (!PG_ARGISNULL(ARG_READ_TABLES))
	{
		replacement->read_tables = NIL;
		evs_declare_read_tables(replacement, PG_GETARG_ARRAYTYPE_P(ARG_READ_TABLES));
	}
	if (!PG_ARGISNULL(ARG_HANDLER))
		select = evs_handler_compile(replacement->definition, replacement->event_table);
	else if (!PG_ARGISNULL(ARG_HANDLERS))
		select = evs_handlers_compile(PG_GETARG_JSONB_P(ARG_HANDLERS), replacement->event_table);
	evs_statement_check(select ? select : replacement->definition);
	replacement->event_tables = select ? list_make1_oid(replacement->event_table) :
		evs_statement_event_tables(replacement->definition, replacement->event_table);
	foreach(cell, replacement->event_tables)
		evs_projection_check_reader(lfirst_oid(cell), replacement->owner);
	(void) evs_shadow_create(replacement, evs_projection_shadow(replacement->id));
	replacement->read_table = replacement->state_table = InvalidOid;
	evs_projection_insert(replacement, select && original->shards > 1 ? evs_shard_divide(select, EVS_HANDLER) : select);
	evs_rebuild_inherit(replacement);
}

/* Become the projection's owner, but keep what names mean to the caller; to be ended like evs_owner_begin(). */
static void
begin_as_owner(EvsOwnerFrame *frame, Oid owner)
{
	GetUserIdAndSecContext(&frame->saved_user, &frame->saved_context);
	SetUserIdAndSecContext(owner, frame->saved_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
}

/* evstore.replace_projection(name, query, statement, handler, handlers, read_tables) */
Datum
evs_replace_projection(PG_FUNCTION_ARGS)
{
	EvsProjection *original;
	EvsProjection replacement;
	EvsOwnerFrame frame;
	ErrorContextCallback context;
	EvsProjectionKind kind;
	char	   *definition = new_definition(fcinfo, &kind);

	if (PG_ARGISNULL(ARG_NAME))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a projection must not be null")));
	SPI_connect();
	original = evs_rebuild_original(fcinfo, "evstore.replace_projection()");
	check_kind(original, kind);
	if (kind == EVS_QUERY && !PG_ARGISNULL(ARG_READ_TABLES))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a query has one read table, and keeps it")));
	replacement = *original;
	replacement.id = evs_rebuild_prepare(original);
	replacement.rebuilds = original->id;
	replacement.shards = 1;
	replacement.is_inline = false;
	replacement.kind = kind;
	replacement.definition = definition;

	context.callback = evs_declare_definition_context;
	context.arg = definition;
	context.previous = error_context_stack;
	error_context_stack = &context;
	begin_as_owner(&frame, original->owner);
	if (kind == EVS_QUERY)
		replace_query(original, &replacement);
	else
		replace_others(fcinfo, original, &replacement);
	if (original->is_inline)
		evs_mode_check_inline(&replacement);
	SetUserIdAndSecContext(frame.saved_user, frame.saved_context);
	error_context_stack = context.previous;
	SPI_finish();
	PG_RETURN_VOID();
}
