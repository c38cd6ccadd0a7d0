/*
 * view.c
 *		The views that projections read their batches through.
 *
 * What a query shows of a batch, or what a handler does with it, is a view of
 * the extension's owner, evstore._batch_<id>: in a view the server keeps names
 * for us. Here it is made and dropped, and the statements over it are written.
 */
#include "evstore.h"

#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/aggregate.h"
#include "project/query.h"
#include "project/source.h"
#include "project/view.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Run a utility statement as the extension's owner. Call inside SPI. */
static void
run(const char *sql)
{
	evs_owner_run_extension(sql, 0, NULL, NULL, NULL, SPI_OK_UTILITY);
}

/* Name of the view over the current batch, of a query projection or of a handler's. */
static char *
batch_view(int id)
{
	return psprintf("evstore._batch_%d", id);
}

/* The oid of such a view, InvalidOid if there is none. */
Oid
evs_view_own(int id)
{
	return get_relname_relid(psprintf("_batch_%d", id), evs_catalog()->schema);
}

/*
 * Whose view it is that a projection reads: shards have one in common, and a
 * rebuild by the same definition reads that of the other.
 */
static int
view_id(const EvsProjection *projection)
{
	return projection->rebuilds == 0 || OidIsValid(evs_view_own(projection->id)) ?
		EVS_WHOLE(projection) : projection->rebuilds;
}

/* The view that shows the query of a query projection over the current batch, or the calls of a handler. */
Oid
evs_view_find(const EvsProjection *projection)
{
	return evs_view_own(view_id(projection));
}

/* Refuse to go on with a query whose view has gone with something that it uses. */
void
evs_view_require(const EvsProjection *projection)
{
	if (!OidIsValid(evs_view_find(projection)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the query of projection \"%s\" was dropped", projection->name),
				 errdetail("Something that it uses was dropped with CASCADE."),
				 errhint("Give it another with evstore.replace_projection(), or drop the projection.")));
}

/* The schema of the views that a statement with shards reads its batches through: shards.c. */
char *
evs_view_schema(const EvsProjection *projection)
{
	return psprintf("evstore_shards_%d", EVS_WHOLE(projection));
}

/*
 * Lock the view, the one that there is then. A batch reads it before it moves the
 * checkpoint; whoever locks the checkpoint first must have locked the view before.
 * For the views of a statement's shards stands their schema. Who reads a view
 * comes by it to the event tables; who changes what it reads (upcaster.c) has
 * these before. So do we, to read it.
 */
void
evs_view_lock(const EvsProjection *projection, LOCKMODE mode)
{
	Oid			schema = projection->kind == EVS_STATEMENT && projection->shards > 1 ?
		get_namespace_oid(evs_view_schema(projection), true) : InvalidOid;
	Oid			locked = InvalidOid;
	Oid			view;
	ListCell   *cell;

	foreach(cell, mode == AccessShareLock ? projection->event_tables : NIL)
		LockRelationOid(lfirst_oid(cell), mode);
	while (OidIsValid(view = evs_view_find(projection)) && view != locked)
	{
		LockRelationOid(view, mode);
		locked = view;
	}
	if (OidIsValid(schema))
		LockDatabaseObject(NamespaceRelationId, schema, 0, mode);
}

/* Let the owners of projections read the view, each with the rights that they have. */
static void
open_batch_view(int id)
{
	run(psprintf("GRANT SELECT ON %s TO PUBLIC", batch_view(id)));
}

/* Make the view of a handler, whose text is ours but for the names of functions. */
static void
create_handler_view(const EvsProjection *projection, const char *select)
{
	run(psprintf("CREATE VIEW %s WITH (security_invoker = true) AS %s", batch_view(projection->id), select));
	open_batch_view(projection->id);
}

/*
 * Make the view of a query. Its text is the caller's, and parsing can already
 * run code (a literal of a domain runs the domain's check), so the caller
 * creates it, where the caller may; only then does the extension's owner take
 * it over.
 */
static void
create_query_view(const EvsProjection *projection, const char *select)
{
	char	   *schema = get_namespace_name(get_rel_namespace(projection->read_table));
	char	   *view = psprintf("_batch_%d", projection->id);
	const char *made = quote_qualified_identifier(schema, view);
	EvsOwnerFrame frame;

	evs_owner_begin(&frame, GetUserId(), NULL);
	if (SPI_execute(psprintf("CREATE VIEW %s WITH (security_invoker = true) AS %s", made, select),
					false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not create view %s", made);
	evs_owner_end(&frame);

	run(psprintf("ALTER VIEW %s OWNER TO %s", made,
				 quote_identifier(GetUserNameFromId(evs_catalog()->owner, false))));
	if (strcmp(schema, EVS_EXTENSION) != 0)
		run(psprintf("ALTER VIEW %s SET SCHEMA " EVS_EXTENSION, made));
	open_batch_view(projection->id);
}

/* Make the view of a query or a handler. Call inside SPI. */
void
evs_view_create(const EvsProjection *projection, const char *select)
{
	List	   *event_tables = projection->event_tables ? projection->event_tables :
		list_make1_oid(projection->event_table);
	ListCell   *cell;

	if (projection->kind == EVS_QUERY)
		create_query_view(projection, select);
	else
		create_handler_view(projection, select);
	/* It was declared over the event tables themselves. */
	foreach(cell, event_tables)
	{
		Oid			source;

		evs_source_lock(lfirst_oid(cell), false);
		source = evs_source_find(lfirst_oid(cell));
		if (OidIsValid(source))
			evs_source_redirect(lfirst_oid(cell), source);
	}
}

/*
 * Drop the view, if the projection has one of its own: nobody but a batch has
 * any use for it, and nobody shall keep it from going. Call inside SPI.
 */
void
evs_view_drop(const EvsProjection *projection)
{
	if (OidIsValid(evs_view_own(projection->id)))
		run(psprintf("DROP VIEW %s CASCADE", batch_view(projection->id)));
}

/*
 * What puts rows into the order of a query's key, as its ON CONFLICT clause
 * names it: those who append at once and change several rows each then meet at
 * the first that they have in common. Nothing for others than inline ones.
 */
static char *
order_of_rows(const EvsProjection *projection)
{
	const char *begin = projection->on_conflict + 1;
	const char *end = begin;
	bool		quoted = false;

	/* Without keys there is one row. */
	if (!projection->is_inline || *begin == '(')
		return "";
	for (; *end != ')' || quoted; end++)
		quoted = quoted != (*end == '"');
	return psprintf(" ORDER BY %s", pnstrdup(begin, end - begin));
}

/* The query of a query projection over the current batch, or the calls of a handler. */
char *
evs_view_select(const EvsProjection *projection)
{
	return evs_view_rows(projection, batch_view(view_id(projection)));
}

/*
 * The rows that a batch writes of those that the projection's query has over
 * it. A grand total has a row also where there is no event; that is what its
 * table begins with, and need not be written again.
 */
char *
evs_view_rows(const EvsProjection *projection, const char *query)
{
	const char *no_keys = "(" EVS_NO_KEYS ")";
	bool		total = projection->on_conflict && strncmp(projection->on_conflict, no_keys, strlen(no_keys)) == 0;

	return psprintf("SELECT * FROM %s%s", query, total ? " WHERE " EVS_EVENTS " > 0" : "");
}

/* What the table of a query begins with: the query over no events, to be run outside of a batch. */
char *
evs_view_initial(const EvsProjection *projection)
{
	return psprintf("SELECT * FROM %s", batch_view(view_id(projection)));
}

/* The statement that combines the rows of a select with the read table, by its present name. */
char *
evs_view_upsert(const EvsProjection *projection, const char *read_table, const char *select)
{
	return psprintf("INSERT INTO %s AS old (%s) %s%s ON CONFLICT %s",
					read_table, projection->columns, select, order_of_rows(projection), projection->on_conflict);
}
