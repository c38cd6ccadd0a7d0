/*
 * table.c
 *		What this backend knows of an event table.
 *
 * An event table is an ordinary table that carries the trigger function
 * evstore._insert(); a guarded table is one that carries evstore._guard().
 * The triggers are the whole of the registration: they are renamed, dumped,
 * restored and dropped with their table, and nothing can disagree with them.
 *
 * Knowledge is kept in a hash by oid. The one relcache callback of the
 * extension only marks it stale; whoever asks next learns anew. Stale
 * knowledge is retired, not freed, while anybody up the call stack may use it:
 * an append can fire a trigger of the user's that changes the table and
 * appends again.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/table.h"
#include "base/catalog.h"
#include "base/settings.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "store/plan.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

typedef struct TableEntry
{
	Oid			relid;			/* hash key */
	bool		stale;			/* set when the table changed */
	EvsTable   *table;			/* NULL if nothing is known */
} TableEntry;

static HTAB *tables = NULL;

static int	open_count = 0;		/* event tables open up the call stack */
static EvsTable *retired = NULL;	/* stale, and maybe still in use there */

/* What each column must be. */
static const struct
{
	const char *name;
	Oid			type;
	bool		not_null;
}			columns[EVS_COLUMN_COUNT] = {
	{"position", INT8OID, true},
	{"version", INT8OID, false},
	{"recorded_at", TIMESTAMPTZOID, true},
	{"schema_version", INT4OID, true},
	{"id", UUIDOID, false},
	{"stream", TEXTOID, false},
	{"type", TEXTOID, true},
	{"data", JSONBOID, true},
	{"metadata", JSONBOID, false},
	{"tags", TEXTARRAYOID, false},
};

/* A table (or, with InvalidOid, any) changed. */
static void
on_relation_change(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	TableEntry *entry;

	if (OidIsValid(relid))
	{
		entry = hash_search(tables, &relid, HASH_FIND, NULL);
		if (entry)
			entry->stale = true;
		return;
	}
	hash_seq_init(&scan, tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->stale = true;
}

/* A schema changed: what is known of tables goes by its name. */
static void
on_schema_change(Datum arg, int cacheid, uint32 hashvalue)
{
	on_relation_change((Datum) 0, InvalidOid);
}

/* Have changes of tables noticed; called once, from _PG_init. */
void
evs_table_install(void)
{
	HASHCTL		control = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(TableEntry),
		.hcxt = TopMemoryContext,
	};

	tables = hash_create("evstore tables", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(on_relation_change, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, on_schema_change, (Datum) 0);
}

/* Does a table carry a trigger that runs "function"? */
static bool
has_trigger_function(Relation rel, Oid function)
{
	if (rel->trigdesc == NULL)
		return false;
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		if (rel->trigdesc->triggers[i].tgfoid == function)
			return true;
	return false;
}

/* Must a column of an event table, by number, never be NULL? */
bool
evs_table_needs_not_null(AttrNumber column)
{
	return column >= 1 && column <= EVS_COLUMN_COUNT && columns[column - 1].not_null;
}

/* Is an open relation an event table? */
bool
evs_relation_is_event_table(Relation rel)
{
	const EvsCatalog *catalog = evs_catalog_find();

	return catalog && has_trigger_function(rel, catalog->insert_function);
}

/* Does an open relation carry the trigger that applies inline projections? */
bool
evs_relation_is_followed(Relation rel)
{
	const EvsCatalog *catalog = evs_catalog_find();

	return catalog && OidIsValid(catalog->inline_function) && has_trigger_function(rel, catalog->inline_function);
}

/* Does the table of this oid carry the trigger? The caller holds some lock on it. */
static bool
carries(Oid relid, Oid function)
{
	Relation	rel = RelationIdGetRelation(relid);
	bool		answer;

	if (!RelationIsValid(rel))
		return false;
	answer = has_trigger_function(rel, function);
	RelationClose(rel);
	return answer;
}

/* Is this an event table? */
bool
evs_table_is_event_table(Oid relid)
{
	const EvsCatalog *catalog = evs_catalog_find();

	return catalog && OidIsValid(relid) && carries(relid, catalog->insert_function);
}

/* Is this a guarded table? Every event table is. */
bool
evs_table_is_guarded(Oid relid)
{
	const EvsCatalog *catalog = evs_catalog_find();

	return catalog && OidIsValid(relid) && carries(relid, catalog->guard_function);
}

/* What evstore.event_table names; read anew only when the setting has changed. */
static const RangeVar *
default_table(void)
{
	static MemoryContext context = NULL;
	static char *setting = NULL;	/* that "name" was read from, NULL at first */
	static RangeVar *name;

	if (setting == NULL || strcmp(setting, evs_event_table) != 0)
	{
		RangeVar   *read = makeRangeVarFromNameList(EVS_QUALIFIED_NAME(evs_event_table));
		MemoryContext caller;

		if (context == NULL)
			context = AllocSetContextCreate(TopMemoryContext, "evstore default table", ALLOCSET_SMALL_SIZES);
		setting = NULL;
		MemoryContextReset(context);
		caller = MemoryContextSwitchTo(context);
		name = copyObject(read);
		setting = pstrdup(evs_event_table);
		MemoryContextSwitchTo(caller);
	}
	return name;
}

/*
 * The table that an "event_table" argument means: the one given, or, if it is
 * NULL, the one that evstore.event_table names.
 */
Oid
evs_table_argument(FunctionCallInfo fcinfo, int argument)
{
	if (!PG_ARGISNULL(argument))
		return PG_GETARG_OID(argument);
	return RangeVarGetRelid(default_table(), NoLock, false);
}

/* Number of the first column that is not what everybody expects there, 0 if all are. */
static int
first_wrong_column(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < EVS_COLUMN_COUNT; i++)
	{
		Form_pg_attribute column = i < desc->natts ? TupleDescAttr(desc, i) : NULL;

		if (column == NULL || column->attisdropped ||
			column->atttypid != columns[i].type || column->atttypmod != -1 ||
			strcmp(NameStr(column->attname), columns[i].name) != 0)
			return i + 1;
	}
	return 0;
}

/* Has an event table the columns it was made with, as they were made? */
bool
evs_relation_has_layout(Relation rel)
{
	if (first_wrong_column(rel) != 0)
		return false;
	for (int i = 0; i < EVS_COLUMN_COUNT; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), i);

		if (column->atthasdef || column->attidentity ||
			(columns[i].not_null && !column->attnotnull))
			return false;
	}
	return true;
}

/* Check that the columns are where everybody expects them. */
static void
check_columns(Relation rel)
{
	int			wrong = first_wrong_column(rel);

	if (wrong != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("event table \"%s\" has lost its layout", RelationGetRelationName(rel)),
				 errdetail("Column %d should be \"%s\" of type %s.",
						   wrong, columns[wrong - 1].name, format_type_be(columns[wrong - 1].type))));
}

/*
 * Can events be put into an index with what was learnt of it earlier? Not
 * where it calls functions of users, which may be replaced. Of predicates, one
 * that asks for NULL is known to be harmless: our own indexes on id and tags
 * have such.
 */
static bool
index_is_plain(Relation index)
{
	List	   *predicate = RelationGetIndexPredicate(index);

	if (index->rd_rel->relam != BTREE_AM_OID && index->rd_rel->relam != HASH_AM_OID &&
		index->rd_rel->relam != GIN_AM_OID)
		return false;
	if (RelationGetIndexExpressions(index) != NIL)
		return false;
	return predicate == NIL ||
		(list_length(predicate) == 1 && IsA(linitial(predicate), NullTest) &&
		 IsA(linitial_node(NullTest, predicate)->arg, Var));
}

/* Are all indexes of a table such? */
static bool
indexes_are_plain(Relation rel)
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		bool		plain = index_is_plain(index);

		index_close(index, AccessShareLock);
		if (!plain)
			return false;
	}
	return true;
}

/*
 * Does a column take whatever append() gives to it, which for an added one is
 * NULL? A type can have a default, and a domain can say no; what a domain says
 * may change without our notice.
 */
static bool
column_is_plain(Form_pg_attribute column)
{
	bool		ours = column->attnum <= EVS_COLUMN_COUNT;

	if (column->attisdropped)
		return true;
	if (column->atthasdef || column->attidentity)
		return false;
	if (column->attnotnull && !(ours && columns[column->attnum - 1].not_null))
		return false;
	return ours || (get_typtype(column->atttypid) != TYPTYPE_DOMAIN && get_typdefault(column->atttypid) == NULL);
}

/* Can events go into the heap without the executor's INSERT? Whoever puts them there fires the trigger that we pass over. */
static bool
is_plain(Relation rel, const EvsCatalog *catalog)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return false;
	if (rel->rd_rules != NULL)
		return false;
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		Oid			function = rel->trigdesc->triggers[i].tgfoid;

		if (function != catalog->insert_function && function != catalog->guard_function &&
			function != catalog->inline_function)
			return false;
	}
	if (desc->constr && (desc->constr->num_check > 0 || desc->constr->has_generated_stored))
		return false;
	for (int i = 0; i < desc->natts; i++)
		if (!column_is_plain(TupleDescAttr(desc, i)))
			return false;
	return indexes_are_plain(rel);
}

/* The column of which an index holds all rows that have a value in it, and no others; 0 if it is not such. */
AttrNumber
evs_table_index_column(Relation index)
{
	List	   *predicate = RelationGetIndexPredicate(index);
	NullTest   *test;

	if (list_length(predicate) != 1 || !IsA(linitial(predicate), NullTest))
		return 0;
	test = linitial_node(NullTest, predicate);
	return test->nulltesttype == IS_NOT_NULL && IsA(test->arg, Var) ? ((Var *) test->arg)->varattno : 0;
}

/* The unique index whose columns are exactly these, over all rows or over those that have a value in the first. */
static Oid
find_unique_index(Relation rel, int count, const AttrNumber *attributes, bool partial)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		match = form->indisunique && form->indisvalid &&
			form->indnkeyatts == count &&
			(partial ? evs_table_index_column(index) == attributes[0] : RelationGetIndexPredicate(index) == NIL);

		/* Ascending, in the column's collation, checked at once: as we read it. */
		match = match && form->indimmediate;
		for (int i = 0; match && i < count; i++)
			match = form->indkey.values[i] == attributes[i] && index->rd_indoption[i] == 0 &&
				index->rd_indcollation[i] == TupleDescAttr(RelationGetDescr(rel), attributes[i] - 1)->attcollation;
		index_close(index, AccessShareLock);
		if (match)
			return lfirst_oid(cell);
	}
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("event table \"%s\" has lost a unique index", RelationGetRelationName(rel))));
}

/* Free what was retired, once nobody can be using it. */
static void
free_retired(void)
{
	while (retired)
	{
		EvsTable   *table = retired;

		retired = table->next_retired;
		evs_plan_free_all(table);
		MemoryContextDelete(table->context);
	}
}

/* Learn what there is to know of a table. */
static EvsTable *
learn(Relation rel)
{
	const EvsCatalog *catalog = evs_catalog();
	const AttrNumber position[] = {EVS_COLUMN_POSITION};
	const AttrNumber version[] = {EVS_COLUMN_STREAM, EVS_COLUMN_VERSION};
	const AttrNumber id[] = {EVS_COLUMN_ID};
	MemoryContext context;
	MemoryContext caller;
	EvsTable   *table;

	check_columns(rel);
	context = AllocSetContextCreate(CurrentMemoryContext, "evstore table", ALLOCSET_SMALL_SIZES);
	table = MemoryContextAllocZero(context, sizeof(EvsTable));
	table->context = context;
	table->relid = RelationGetRelid(rel);
	table->name = MemoryContextStrdup(context,
									  quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
																 RelationGetRelationName(rel)));
	table->followed = evs_relation_is_followed(rel) && is_plain(rel, catalog);
	table->plain = !table->followed && is_plain(rel, catalog);
	table->row_security = rel->rd_rel->relrowsecurity;
	table->position_index = find_unique_index(rel, lengthof(position), position, false);
	table->version_index = find_unique_index(rel, lengthof(version), version, false);
	table->id_index = find_unique_index(rel, lengthof(id), id, true);
	/* A descriptor of our own: the relcache's would be pinned by the slot. */
	caller = MemoryContextSwitchTo(context);
	table->probe = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)),
											&TTSOpsBufferHeapTuple);
	table->shapes = evs_shapes_load(table->relid);
	MemoryContextSwitchTo(caller);
	MemoryContextSetParent(context, TopMemoryContext);
	return table;
}

/* What events are read from: the table, or the view that shows them in their newest shape. */
const char *
evs_table_events(const EvsTable *table)
{
	return table->shapes && table->shapes->source ? table->shapes->source : table->name;
}

/*
 * Say what is known of an event table that somebody keeps open. The answer
 * stays good until evs_table_leave().
 */
EvsTable *
evs_table_enter(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	bool		found;
	TableEntry *entry;

	if (!evs_relation_is_event_table(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an event table", RelationGetRelationName(rel)),
				 errhint("Event tables are made by evstore.create_event_table().")));

	if (open_count == 0)
		free_retired();

	entry = hash_search(tables, &relid, HASH_ENTER, &found);
	if (!found)
		entry->table = NULL;
	if (entry->table && entry->stale)
	{
		entry->table->next_retired = retired;
		retired = entry->table;
		entry->table = NULL;
	}
	if (entry->table == NULL)
	{
		entry->stale = false;
		entry->table = learn(rel);
	}
	open_count++;
	return entry->table;
}

/* The counterpart of evs_table_enter(). */
void
evs_table_leave(void)
{
	open_count--;
}

/* Open an event table and enter it. */
EvsTable *
evs_table_open(Oid relid, LOCKMODE lockmode, Relation *rel)
{
	*rel = try_table_open(relid, lockmode);
	if (*rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	return evs_table_enter(*rel);
}

/* The counterpart of evs_table_open(); the lock stays until the transaction ends. */
void
evs_table_close(Relation rel)
{
	evs_table_leave();
	table_close(rel, NoLock);
}

/* After an error, nobody closed what was open. */
static void
table_finished(bool committed)
{
	open_count = 0;
}

const EvsXactSubscriber evs_table_xact = {.finished = table_finished};
