/*
 * aggregate.c
 *		How the state of a stream follows from its events: what was declared.
 *
 * An aggregate is declared for the streams of a category: a function "apply"
 * that makes the next state of a state and an event, or an aggregate of
 * PostgreSQL's kind over events, and the state to begin with. It is a row of
 * evstore._aggregate and a view, evstore._apply_<id>, which calls the function:
 * so the server follows its renames, keeps it from being dropped, and dumps it.
 *
 * Backends keep what they have read until a function or a type changes; making
 * and dropping the view, which has a row type, is such a change. An entry that
 * somebody is using when that happens lives on, retired, until
 * nobody uses any.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "domain/aggregate.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "store/event.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static List *known = NIL;		/* of EvsAggregate; up to date unless "stale" */
static List *retired = NIL;		/* of EvsAggregate that were in use when they became stale */
static bool stale = false;
static int	users = 0;			/* calls of evs_aggregate_open() that were not closed yet */

/* Something that a definition is made of has changed. */
static void
on_change(Datum arg, int cacheid, uint32 hashvalue)
{
	stale = true;
}

/* Have changes noticed; called once, from _PG_init. */
void
evs_aggregate_install(void)
{
	CacheRegisterSyscacheCallback(PROCOID, on_change, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, on_change, (Datum) 0);
}

/* After an error, nobody closed what was open. */
static void
aggregate_finished(bool committed)
{
	users = 0;
}

const EvsXactSubscriber evs_aggregate_xact = {.finished = aggregate_finished};

/* Free what nobody can be using any more. */
static void
free_retired(void)
{
	ListCell   *cell;

	foreach(cell, retired)
		MemoryContextDelete(((EvsAggregate *) lfirst(cell))->context);
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

/* Name of the view that keeps what an aggregate calls. */
static char *
apply_view(int id)
{
	return psprintf("_apply_%d", id);
}

/* What the view calls: a function, or an aggregate. */
static void
read_apply(EvsAggregate *aggregate)
{
	Oid			relid = get_relname_relid(apply_view(aggregate->id), evs_catalog()->schema);
	Relation	view;
	Expr	   *call;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("what aggregate \"%s\" applies was dropped", aggregate->category),
				 errhint("Drop the aggregate with evstore.drop_aggregate(), and create it again.")));
	view = table_open(relid, AccessShareLock);
	call = linitial_node(TargetEntry, get_view_query(view)->targetList)->expr;
	aggregate->is_sql_aggregate = IsA(call, Aggref);
	aggregate->apply = aggregate->is_sql_aggregate ? ((Aggref *) call)->aggfnoid : ((FuncExpr *) call)->funcid;
	aggregate->state_type = exprType((Node *) call);
	get_typlenbyval(aggregate->state_type, &aggregate->state_length, &aggregate->state_by_value);
	table_close(view, AccessShareLock);
}

/* The columns of a composite state, as text. */
static void
describe_columns(StringInfo description, Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_domain(type, -1, true);

	if (desc == NULL)
		return;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (!column->attisdropped)
			appendStringInfo(description, "%s %s\n", NameStr(column->attname),
							 format_type_with_typemod(column->atttypid, column->atttypmod));
	}
	ReleaseTupleDesc(desc);
}

/*
 * A hash of everything we know of that decides which state follows from given
 * events. What the function calls in turn is not known.
 */
static char *
hash_definition(const EvsAggregate *aggregate)
{
	StringInfoData description;
	uint64		hash[2];

	initStringInfo(&description);
	appendStringInfo(&description, "%s\n%s\n", format_type_be_qualified(aggregate->state_type),
					 aggregate->initial_state ? aggregate->initial_state : "\\N");
	describe_columns(&description, aggregate->state_type);
	if (!aggregate->is_sql_aggregate)
		appendStringInfoString(&description, TextDatumGetCString(DirectFunctionCall1(pg_get_functiondef,
																			  ObjectIdGetDatum(aggregate->apply))));
	for (int i = 0; i < lengthof(hash); i++)
		hash[i] = hash_bytes_extended((const unsigned char *) description.data, description.len, i);
	return psprintf(UINT64_FORMAT "." UINT64_FORMAT, hash[0], hash[1]);
}

/* Read the row of an aggregate into "aggregate"; false if there is none. */
static bool
read_row(EvsAggregate *aggregate, Oid event_table, const char *category)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(event_table), CStringGetTextDatum(category)};
	MemoryContext context = CurrentMemoryContext;
	EvsOwnerFrame frame;
	bool		found;

	SPI_connect();
	evs_owner_begin_extension(&frame);
	if (SPI_execute_with_args("SELECT id, owner::oid, initial_state, settings FROM evstore._aggregate"
							  " WHERE event_table::oid = $1 AND category = $2",
							  lengthof(types), types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read evstore._aggregate");
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		initial = SPI_getbinval(row, desc, 3, &isnull);
		MemoryContext caller = MemoryContextSwitchTo(context);

		aggregate->initial_state = isnull ? NULL : TextDatumGetCString(initial);
		aggregate->id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		aggregate->owner = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
		aggregate->settings = DatumGetArrayTypePCopy(SPI_getbinval(row, desc, 4, &isnull));
		MemoryContextSwitchTo(caller);
	}
	evs_owner_end(&frame);
	SPI_finish();
	return found;
}

/* Read an aggregate, in a memory context of its own; NULL if there is none. */
static EvsAggregate *
load(Oid event_table, const char *category)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "evstore aggregate", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EvsAggregate *aggregate = palloc0_object(EvsAggregate);
	bool		found = read_row(aggregate, event_table, category);

	aggregate->context = context;
	aggregate->event_table = event_table;
	aggregate->category = pstrdup(category);
	if (found)
	{
		read_apply(aggregate);
		aggregate->definition_hash = hash_definition(aggregate);
	}
	MemoryContextSwitchTo(caller);
	if (!found)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	MemoryContextSetParent(context, TopMemoryContext);
	caller = MemoryContextSwitchTo(TopMemoryContext);
	known = lappend(known, aggregate);
	MemoryContextSwitchTo(caller);
	return aggregate;
}

/* The aggregate of an event table's category, NULL if there is none. */
static EvsAggregate *
find(Oid event_table, const char *category)
{
	ListCell   *cell;

	forget_stale();
	foreach(cell, known)
	{
		EvsAggregate *aggregate = lfirst(cell);

		if (aggregate->event_table == event_table && strcmp(aggregate->category, category) == 0)
			return aggregate;
	}
	return load(event_table, category);
}

/* The aggregate that a stream belongs to, which stays what it is until it is closed. */
const EvsAggregate *
evs_aggregate_open(Oid event_table, const text *stream)
{
	char	   *category = pnstrdup(VARDATA_ANY(stream), category_length(stream));
	EvsAggregate *aggregate = find(event_table, category);

	if (aggregate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("event table \"%s\" has no aggregate for category \"%s\"",
						get_rel_name(event_table), category),
				 errhint("Declare one with evstore.create_aggregate().")));
	users++;
	return aggregate;
}

/* The counterpart of evs_aggregate_open(). */
void
evs_aggregate_close(const EvsAggregate *aggregate)
{
	users--;
}

/* A state from its text form, in the current memory context. */
Datum
evs_aggregate_state_in(const EvsAggregate *aggregate, const char *state, bool *isnull)
{
	Oid			input;
	Oid			parameter;

	*isnull = state == NULL;
	if (state == NULL)
		return (Datum) 0;
	getTypeInputInfo(aggregate->state_type, &input, &parameter);
	return OidInputFunctionCall(input, (char *) state, parameter, -1);
}
