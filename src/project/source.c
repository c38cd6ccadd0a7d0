/*
 * source.c
 *		What projections read events from: the event table, or, where it has
 *		upcasters, a view that shows every event in its newest shape.
 *
 * The view, evstore._upcast_<id>, calls the functions of store/upcast.c. It has
 * the columns that every event table begins with, under the same numbers, then
 * type and tags as they were written, for who looks for those, and which piece
 * of what was written it is. (Pieces come in their order wherever events are read
 * in that of an index: each event is made into its pieces on the way.)
 *
 * Whatever reads the events of a batch is a view as well: the batch view beside
 * the event table, and what queries and handlers do with a batch (view.c). When
 * an event table gets its first upcaster, those are made to read the view in the
 * table's place, and back when the last one goes. In a view's tree, that is
 * another oid where the table's stood: no text is read again, and so no name can
 * have come to mean something else. Where there is no upcaster, nothing of all
 * this is there.
 */
#include "evstore.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/advisory.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "project/source.h"
#include "rewrite/rewriteDefine.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteSupport.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "store/table.h"
#include "store/upcast.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Name of the view, in our schema. */
#define SOURCE_NAME "_upcast_%d"

/*
 * Keep what is read in a table's place as it is, to the end of the transaction,
 * or keep others from declaring what would read it, to change it.
 */
void
evs_source_lock(Oid event_table, bool to_change)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, event_table, 0, EVS_LOCK_SOURCE);
	(void) LockAcquire(&tag, to_change ? ExclusiveLock : ShareLock, false, false);
	/* Who had it before us may have changed what we know of the table. */
	AcceptInvalidationMessages();
}

/*
 * The same for all event tables that a statement names, in its tree as written:
 * to analyse it is to lock these, and whoever changes what is read in their
 * place locks them afterwards.
 */
bool
evs_source_lock_named(Node *node, void *context)
{
	Oid			relid;

	if (node == NULL)
		return false;
	if (!IsA(node, RangeVar))
		return raw_expression_tree_walker(node, evs_source_lock_named, context);
	relid = RangeVarGetRelid((RangeVar *) node, NoLock, true);
	if (evs_table_is_event_table(relid))
		evs_source_lock(relid, false);
	return false;
}

/* The view that shows a table's events in their newest shapes, InvalidOid if it has no upcasters. */
Oid
evs_source_find(Oid event_table)
{
	Relation	rel;
	const EvsShapes *shapes = evs_table_open(event_table, AccessShareLock, &rel)->shapes;
	Oid			source = InvalidOid;

	if (shapes && shapes->source)
		source = get_relname_relid(shapes->source + strlen(EVS_EXTENSION "."), evs_catalog()->schema);
	evs_table_close(rel);
	return source;
}

/*
 * The function of upcast.c that serves all upcasters of a table, without one of
 * them, or with one more, of which the function is given. One whose function was
 * dropped by force does not count: whoever reads an event of its version is told,
 * and its upcaster must not keep others from being dropped.
 */
static char *
choose_function(const EvsShapes *shapes, const EvsUpcaster *without, Oid with)
{
	bool		take_events = OidIsValid(with) && get_func_rettype(with) == evs_catalog()->event_type;
	bool		parallel_safe = !OidIsValid(with) || func_parallel(with) == PROPARALLEL_SAFE;

	for (int i = 0; shapes && i < shapes->upcaster_count; i++)
	{
		EvsUpcaster *upcaster = &shapes->upcasters[i];

		if (upcaster == without || !evs_upcaster_has_function(upcaster))
			continue;
		evs_upcaster_resolve(upcaster);
		take_events = take_events || upcaster->takes_event;
		parallel_safe = parallel_safe && func_parallel(upcaster->shape.function) == PROPARALLEL_SAFE;
	}
	return psprintf("_upcast%s%s", take_events ? "" : "_data", parallel_safe ? "" : "_here");
}

/* What the view shows; *function is set to what it calls for each event. */
static char *
select_upcast(Oid event_table, char **function)
{
	Relation	rel;
	EvsTable   *table = evs_table_open(event_table, AccessShareLock, &rel);
	char	   *select;

	*function = choose_function(table->shapes, NULL, InvalidOid);
	if (strncmp(*function, "_upcast_data", strlen("_upcast_data")) != 0)
		select = psprintf("SELECT e.\"position\", e.version, e.recorded_at, u.schema_version, e.id, e.stream, u.type,"
						  " u.data, u.metadata, u.tags, e.type AS written_type, e.tags AS written_tags, u.piece FROM %s e"
						  " CROSS JOIN LATERAL evstore.%s(e.tableoid, e.\"position\", e.version, e.recorded_at,"
						  " e.schema_version, e.id, e.stream, e.type, e.data, e.metadata, e.tags) WITH ORDINALITY"
						  " u(\"position\", version, recorded_at, schema_version, id, stream, type, data, metadata, tags, piece)",
						  table->name, *function);
	else
		select = psprintf("SELECT e.\"position\", e.version, e.recorded_at,"
						  " evstore._upcast_version(e.tableoid, e.type, e.schema_version) AS schema_version,"
						  " e.id, e.stream, e.type,"
						  " evstore.%s(e.tableoid, e.\"position\", e.type, e.schema_version, e.data) AS data,"
						  " e.metadata, e.tags, e.type AS written_type, e.tags AS written_tags, 1::bigint AS piece FROM %s e",
						  *function, table->name);
	evs_table_close(rel);
	return select;
}

/* Does a view call a function of ours? Call inside SPI. */
static bool
view_calls(Oid view, char *function)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(view), CStringGetTextDatum(function)};

	evs_owner_run_extension("SELECT FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d"
							"  ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid"
							"  AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass"
							" JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid"
							" WHERE r.ev_class = $1 AND p.proname = $2"
							"  AND p.pronamespace = 'evstore'::pg_catalog.regnamespace",
							lengthof(types), types, values, NULL, SPI_OK_SELECT);
	return SPI_processed > 0;
}

/*
 * Will the view of a table be replaced or dropped, as an upcaster is added, of
 * which the function is given, or else the one of a version is dropped? Call
 * inside SPI.
 */
bool
evs_source_will_change(Oid event_table, Oid added, const text *type, int dropped)
{
	Oid			view = evs_source_find(event_table);
	Relation	rel;
	const EvsShapes *shapes = evs_table_open(event_table, AccessShareLock, &rel)->shapes;
	bool		will_change = false;

	if (OidIsValid(view))
	{
		const EvsUpcaster *without = OidIsValid(added) ? NULL : evs_shapes_upcaster(shapes, type, dropped);

		will_change = (without && shapes->upcaster_count == 1) ||
			!view_calls(view, choose_function(shapes, without, added));
	}
	evs_table_close(rel);
	return will_change;
}

/*
 * Make the view of a table as its upcasters want it; "id" names a new one. The
 * text is ours, but for the table's name. One that is so already is left alone:
 * to replace it is to keep out everybody who reads events. Call inside SPI.
 */
Oid
evs_source_create(Oid event_table, int id)
{
	char	   *name = psprintf(SOURCE_NAME, id);
	Oid			view = get_relname_relid(name, evs_catalog()->schema);
	char	   *function;
	char	   *select = select_upcast(event_table, &function);

	if (OidIsValid(view) && view_calls(view, function))
		return view;
	evs_owner_run_extension(psprintf("CREATE OR REPLACE VIEW evstore.%s WITH (security_invoker = true) AS %s", name,
									 select), 0, NULL, NULL, NULL, SPI_OK_UTILITY);
	/* Readable by all, as far as they may read the table itself. */
	evs_owner_run_extension(psprintf("GRANT SELECT ON evstore.%s TO PUBLIC", name), 0, NULL, NULL, NULL, SPI_OK_UTILITY);
	return get_relname_relid(name, evs_catalog()->schema);
}

/* Drop the view of a table that has no upcasters any more. Call inside SPI. */
void
evs_source_drop(Oid event_table, Oid source)
{
	evs_source_redirect(source, event_table);
	evs_owner_run_extension(psprintf("DROP VIEW evstore.%s", get_rel_name(source)), 0, NULL, NULL, NULL, SPI_OK_UTILITY);
}

/* The names of a relation's columns, as they stand in a range table. */
static List *
column_names(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *names = NIL;

	for (int i = 0; i < desc->natts; i++)
		names = lappend(names, makeString(TupleDescAttr(desc, i)->attisdropped ? pstrdup("") :
										  pstrdup(NameStr(TupleDescAttr(desc, i)->attname))));
	table_close(rel, NoLock);
	return names;
}

/* From which relation to which. */
typedef struct Redirection
{
	Oid			from;
	Oid			to;
} Redirection;

/* Change a query, and those in it, in place. */
static bool
redirect(Node *node, void *context)
{
	const Redirection *redirection = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		if (entry->rtekind == RTE_RELATION && entry->relid == redirection->from)
		{
			entry->relid = redirection->to;
			entry->relkind = get_rel_relkind(redirection->to);
			entry->eref = makeAlias(entry->eref->aliasname, column_names(redirection->to));
		}
		return false;
	}
	if (IsA(node, Query))
	{
		EVS_REDIRECT_PERMISSIONS((Query *) node, redirection->from, redirection->to);
		return query_tree_walker((Query *) node, redirect, context, QTW_EXAMINE_RTES_BEFORE);
	}
	return expression_tree_walker(node, redirect, context);
}

/* Make one view read "to" where it reads "from". */
static void
redirect_view(Oid relid, Redirection redirection)
{
	Relation	view = table_open(relid, AccessExclusiveLock);
	Oid			owner = view->rd_rel->relowner;
	Query	   *query = copyObject(get_view_query(view));
	EvsOwnerFrame frame;

	table_close(view, NoLock);
	(void) redirect((Node *) query, &redirection);
	evs_owner_begin(&frame, owner, NULL);
	(void) DefineQueryRewrite(pstrdup(ViewSelectRuleName), relid, NULL, CMD_SELECT, true, true, list_make1(query));
	evs_owner_end(&frame);
	CommandCounterIncrement();
}

/* Does a query name a whole row, or a column of the system's? */
static bool
names_more_than_columns(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varattno <= 0;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, names_more_than_columns, context, 0);
	return expression_tree_walker(node, names_more_than_columns, context);
}

/* Refuse to go on if a view reads what not every event has. */
static void
check_columns(Oid relid, AttrNumber last)
{
	Relation	view = table_open(relid, AccessShareLock);
	bool		more = names_more_than_columns((Node *) get_view_query(view), NULL);

	table_close(view, NoLock);
	if (more)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot upcast events for views that read whole rows or system columns of the event table"),
				 errdetail("View \"%s\" does.", get_rel_name(relid)),
				 errhint("Name the columns that it needs.")));
	if (last > EVS_COLUMN_COUNT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot upcast events for projections that read columns which were added to the event table"),
				 errdetail("View \"%s\" reads column %d.", get_rel_name(relid), last),
				 errhint("Keep what projections need in data, metadata or tags.")));
}

/*
 * The views over batches of an event table that read them from a relation: ours,
 * those of the table's owner, and its batch view, whoever owns that by now. What
 * others have made is theirs: they could keep an upcaster from being declared.
 */
#define VIEWS_OF_BATCHES \
	"SELECT r.ev_class, pg_catalog.max(t.refobjsubid)::pg_catalog.int2 FROM pg_catalog.pg_rewrite r" \
	" JOIN pg_catalog.pg_class v ON v.oid = r.ev_class AND v.relkind = 'v' AND r.ev_type = '1'" \
	" JOIN pg_catalog.pg_depend t ON t.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass" \
	"  AND t.objid = r.oid AND t.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND t.refobjid = $1" \
	" JOIN pg_catalog.pg_class e ON e.oid = $4" \
	" JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace" \
	" JOIN pg_catalog.pg_extension x ON x.extname = 'evstore'" \
	" WHERE EXISTS (SELECT FROM pg_catalog.pg_depend f WHERE f.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass" \
	"  AND f.objid = r.oid AND f.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND f.refobjid IN ($2, $3))" \
	" AND (n.nspname = 'evstore' OR (n.nspname LIKE 'evstore\\_shards\\_%' AND n.nspowner = x.extowner)" \
	"  OR pg_catalog.pg_has_role(v.relowner, e.relowner, 'USAGE')" \
	"  OR (v.relnamespace = e.relnamespace AND v.relname = 'new_' || e.relname))" \
	" GROUP BY r.ev_class ORDER BY r.ev_class"

/*
 * Make every view that reads the events of a batch from one relation read them
 * from another that begins with the same columns. Call inside SPI.
 */
void
evs_source_redirect(Oid from, Oid to)
{
	Oid			event_table = get_rel_relkind(from) == RELKIND_VIEW ? to : from;
	const EvsCatalog *catalog = evs_catalog();
	Oid			types[] = {OIDOID, OIDOID, OIDOID, OIDOID};
	Datum		values[] = {
		ObjectIdGetDatum(from), ObjectIdGetDatum(catalog->batch_from_function),
		ObjectIdGetDatum(catalog->shard_from_function), ObjectIdGetDatum(event_table),
	};
	SPITupleTable *views;

	evs_owner_run_extension(VIEWS_OF_BATCHES, lengthof(types), types, values, NULL, SPI_OK_SELECT);
	views = SPI_tuptable;
	for (uint64 i = 0; i < views->numvals; i++)
	{
		bool		isnull;
		Oid			view = DatumGetObjectId(SPI_getbinval(views->vals[i], views->tupdesc, 1, &isnull));

		/* Its projection may be dropped while we wait for it. */
		LockRelationOid(view, AccessExclusiveLock);
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(view)))
			continue;
		check_columns(view, DatumGetInt16(SPI_getbinval(views->vals[i], views->tupdesc, 2, &isnull)));
		redirect_view(view, (Redirection) {from, to});
	}
}
