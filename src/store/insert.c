/*
 * insert.c
 *		Putting events, their versions and positions known, into the table.
 *
 * Fast if plain, correct otherwise. A plain table takes events straight into
 * its heap and indexes; a table with anything that only the executor's INSERT
 * knows to do (further triggers, CHECK constraints, generated columns,
 * defaults of added columns, indexes over expressions, row-level
 * security that binds the caller) gets that INSERT, through SPI. Both leave the same rows behind,
 * and both are one statement to triggers, however many events there are (fire.c).
 *
 * What the direct path needs to know of a table's indexes is kept with the
 * table from one append to the next: building it costs as much as inserting.
 * Only the relations themselves are opened anew each time, so nothing pinned
 * or locked outlives a transaction. An append from within an append (a trigger,
 * a function in an index) finds the kept state busy and builds its own.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "store/cause.h"
#include "store/fire.h"
#include "store/insert.h"
#include "store/plan.h"
#include "store/stream.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

struct EvsWriter
{
	EvsTable   *table;
	Relation	rel;			/* open while busy */
	Relation	version_index;	/* likewise */
	bool		busy;
	SubTransactionId busy_since;	/* valid while busy */
	struct EvsWriter *next_busy;	/* next in busy_writers */
	bool		direct;			/* straight into the heap, or through SPI */
	EvsFiring	firing;			/* of the table's triggers, valid while busy */
	MemoryContext context;

	/* Of the direct path only. */
	EState	   *estate;
	ResultRelInfo *result;
	List	   *index_oids;
	int			index_count;
	int			full_index_count;	/* the first so many have every event in them */
	BulkInsertState bulk;		/* of a load, or NULL; valid while busy */
	int			slot_count;
	TupleTableSlot *slots[EVS_INSERT_BATCH];
};

/* Kept writers that are busy, the innermost first: all to be freed by an error. */
static EvsWriter *busy_writers = NULL;

/* A row that append() inserts through SPI, as the insert trigger knows it again. */
typedef struct Claim
{
	Oid			relid;			/* InvalidOid once the trigger has asked */
	EvsPosition position;
	SubTransactionId subxact;
	struct Claim *outer;		/* of the append from within whose INSERT this one is made */
} Claim;

static Claim *claims = NULL;	/* the innermost first, in the transaction's memory */

/* An error ended a subtransaction: what became busy in it is so no more. */
static void
insert_subxact_aborted(SubTransactionId subxact)
{
	while (busy_writers && busy_writers->busy_since >= subxact)
	{
		busy_writers->busy = false;
		busy_writers = busy_writers->next_busy;
	}
	while (claims && claims->subxact >= subxact)
		claims = claims->outer;
}

/* The transaction is over. */
static void
insert_finished(bool committed)
{
	insert_subxact_aborted(TopSubTransactionId);
}

const EvsXactSubscriber evs_insert_xact = {
	.finished = insert_finished,
	.subxact_aborted = insert_subxact_aborted,
};

/* Does row-level security stand between the caller and the table? */
static bool
bound_by_policies(const EvsTable *table)
{
	return table->row_security && check_enable_rls(table->relid, InvalidOid, true) == RLS_ENABLED;
}

/*
 * Learn the indexes of a table, for the direct path; those that have every
 * event in them come first, so that most appends need not open the others.
 */
static void
build_index_state(EvsWriter *writer, Relation rel)
{
	ResultRelInfo *result = makeNode(ResultRelInfo);
	List	   *oids = RelationGetIndexList(rel);
	List	   *infos = NIL;
	List	   *marked_oids = NIL;
	List	   *marked_infos = NIL;
	ListCell   *cell;

	writer->estate = CreateExecutorState();
	foreach(cell, oids)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);
		AttrNumber	column = evs_table_index_column(index);

		index_close(index, NoLock);
		if (column == EVS_COLUMN_ID || column == EVS_COLUMN_TAGS)
		{
			marked_oids = lappend_oid(marked_oids, lfirst_oid(cell));
			marked_infos = lappend(marked_infos, info);
		}
		else
		{
			writer->index_oids = lappend_oid(writer->index_oids, lfirst_oid(cell));
			infos = lappend(infos, info);
		}
	}
	writer->full_index_count = list_length(infos);
	writer->index_oids = list_concat(writer->index_oids, marked_oids);
	infos = list_concat(infos, marked_infos);
	writer->index_count = list_length(infos);

	result->ri_RelationDesc = rel;
	result->ri_IndexRelationDescs = palloc0_array(Relation, writer->index_count);
	result->ri_IndexRelationInfo = palloc_array(IndexInfo *, writer->index_count);
	foreach(cell, infos)
		result->ri_IndexRelationInfo[foreach_current_index(cell)] = lfirst(cell);
	writer->result = result;
}

/* Build the state that the first append to a table needs and later ones reuse. */
static EvsWriter *
build_writer(EvsTable *table, Relation rel, bool direct)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "evstore writer", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EvsWriter  *writer = palloc0_object(EvsWriter);

	writer->table = table;
	writer->context = context;
	writer->direct = direct;
	if (direct)
		build_index_state(writer, rel);
	MemoryContextSwitchTo(caller);
	return writer;
}

/*
 * Open the table's indexes, for reading the last version and for inserting.
 * What an access method (GIN) keeps from one row to the next points into the
 * open relation, and so must not outlive this call.
 */
static void
open_indexes(EvsWriter *writer, bool marked)
{
	ResultRelInfo *result = writer->result;

	result->ri_RelationDesc = writer->rel;
	result->ri_NumIndices = marked ? writer->index_count : writer->full_index_count;
	for (int i = 0; i < result->ri_NumIndices; i++)
	{
		Oid			oid = list_nth_oid(writer->index_oids, i);
		Relation	index = index_open(oid, RowExclusiveLock);
		IndexInfo  *info = result->ri_IndexRelationInfo[i];

		info->ii_AmCache = NULL;
		info->ii_Context = CurrentMemoryContext;
		/* It may have become so while it was built, and only the index itself says it. */
		info->ii_ReadyForInserts = index->rd_index->indisready;
		result->ri_IndexRelationDescs[i] = index;
		if (oid == writer->table->version_index)
			writer->version_index = index;
	}
}

/* Do events of the calling role go straight into heap and indexes? */
bool
evs_insert_is_direct(const EvsTable *table)
{
	return (table->plain || table->followed) && !bound_by_policies(table);
}

/*
 * Get ready to insert into an open event table events of which some are marked,
 * that is, have an id or tags, or none is. The state kept with the table is used
 * if it is free; else one is built, and kept if the table has none.
 */
EvsWriter *
evs_insert_begin(EvsTable *table, Relation rel, bool marked)
{
	bool		direct = evs_insert_is_direct(table);
	EvsWriter  *writer = table->writers[direct];

	if (writer == NULL || writer->busy)
	{
		writer = build_writer(table, rel, direct);
		if (table->writers[direct] == NULL)
		{
			MemoryContextSetParent(writer->context, table->context);
			table->writers[direct] = writer;
		}
	}

	writer->rel = rel;
	writer->bulk = NULL;
	writer->firing = (EvsFiring) {0};
	writer->busy = true;
	if (writer == table->writers[direct])
	{
		writer->busy_since = GetCurrentSubTransactionId();
		writer->next_busy = busy_writers;
		busy_writers = writer;
	}
	if (direct)
		open_indexes(writer, marked);
	else
		writer->version_index = index_open(table->version_index, AccessShareLock);
	return writer;
}

/* What follows is a load: it is not to crowd everybody else's pages out of shared memory. */
void
evs_insert_bulk(EvsWriter *writer)
{
	writer->bulk = GetBulkInsertState();
}

/* The version of a stream's newest event, and who has not finished writing it: see evs_stream_newest(). */
EvsVersion
evs_insert_newest_version(EvsWriter *writer, const text *stream, TransactionId *unfinished)
{
	return evs_stream_newest(writer->rel, writer->version_index, writer->table->probe, stream, unfinished);
}

/*
 * Done: close what evs_insert_begin() opened, and keep the state if it is the
 * table's. At last the triggers are fired: they may append, and use that state.
 */
void
evs_insert_end(EvsWriter *writer)
{
	EvsFiring	firing = writer->firing;

	if (writer->bulk)
		FreeBulkInsertState(writer->bulk);
	if (writer->direct)
	{
		for (int i = 0; i < writer->result->ri_NumIndices; i++)
			index_close(writer->result->ri_IndexRelationDescs[i], NoLock);
	}
	else
		index_close(writer->version_index, NoLock);

	writer->busy = false;
	writer->rel = NULL;
	if (writer == busy_writers)
		busy_writers = writer->next_busy;
	if (writer != writer->table->writers[writer->direct])
		MemoryContextDelete(writer->context);
	evs_fire_end(&firing);
}

/* The columns of the i-th event of a run. */
static void
fill_row(const EvsPlace *place, const EvsEvent *event, int i, Datum *values, bool *nulls)
{
	const Jsonb *metadata = evs_cause_mark(event->metadata);

	memset(nulls, false, EVS_COLUMN_COUNT * sizeof(bool));
#define SET(column, datum)		values[(column) - 1] = (datum)
#define SET_IF(column, pointer) \
	(values[(column) - 1] = PointerGetDatum(pointer), nulls[(column) - 1] = (pointer) == NULL)
	SET(EVS_COLUMN_POSITION, Int64GetDatum(place->first_position + i));
	SET(EVS_COLUMN_VERSION, Int64GetDatum(place->first_version + i));
	nulls[EVS_COLUMN_VERSION - 1] = place->stream == NULL;
	SET(EVS_COLUMN_RECORDED_AT, TimestampTzGetDatum(place->recorded_at));
	SET(EVS_COLUMN_SCHEMA_VERSION, Int32GetDatum(event->schema_version));
	SET(EVS_COLUMN_TYPE, PointerGetDatum(event->type));
	SET(EVS_COLUMN_DATA, PointerGetDatum(event->data));
	SET_IF(EVS_COLUMN_STREAM, place->stream);
	SET_IF(EVS_COLUMN_ID, event->id);
	SET_IF(EVS_COLUMN_METADATA, metadata);
	SET_IF(EVS_COLUMN_TAGS, event->tags);
#undef SET
#undef SET_IF
}

/* The n-th slot of the direct path, of EVS_INSERT_BATCH, empty: its columns are to be filled in. */
TupleTableSlot *
evs_insert_slot(EvsWriter *writer, int n)
{
	if (n == writer->slot_count)
	{
		MemoryContext caller = MemoryContextSwitchTo(writer->context);

		writer->slots[writer->slot_count++] =
			MakeSingleTupleTableSlot(writer->table->probe->tts_tupleDescriptor, &TTSOpsHeapTuple);
		MemoryContextSwitchTo(caller);
	}
	return ExecClearTuple(writer->slots[n]);
}

/* The n-th slot, filled in. */
TupleTableSlot *
evs_insert_filled(EvsWriter *writer, int n)
{
	return writer->slots[n];
}

/*
 * Insert the first slots, filled in, into heap and indexes. *row tells, should
 * there be an error, which of them it is about.
 */
void
evs_insert_slots(EvsWriter *writer, int count, int *row)
{
	CommandId	command = GetCurrentCommandId(true);

	for (int i = 0; i < count; i++)
	{
		ExecStoreVirtualTuple(writer->slots[i]);
		writer->slots[i]->tts_tableOid = writer->table->relid;
	}

	if (count == 1)
		table_tuple_insert(writer->rel, writer->slots[0], command, 0, writer->bulk);
	else
		table_multi_insert(writer->rel, writer->slots, count, command, 0, writer->bulk);

	for (int i = 0; i < count; i++)
	{
		*row = i;
		if (writer->result->ri_NumIndices > 0)
			list_free(EVS_INSERT_INDEX_TUPLES(writer->result, writer->slots[i], writer->estate));
		evs_fire_note(&writer->firing, writer->slots[i]);
		ResetPerTupleExprContext(writer->estate);
		ExecClearTuple(writer->slots[i]);
	}
}

/* Insert up to EVS_INSERT_BATCH events, counted from "from", into heap and indexes. */
static void
insert_batch(EvsWriter *writer, const EvsPlace *place, const EvsEvent *events, int from, int count)
{
	int			natts = RelationGetDescr(writer->rel)->natts;
	int			row;

	for (int i = 0; i < count; i++)
	{
		TupleTableSlot *slot = evs_insert_slot(writer, i);

		fill_row(place, &events[from + i], from + i, slot->tts_values, slot->tts_isnull);
		for (int extra = EVS_COLUMN_COUNT; extra < natts; extra++)
		{
			slot->tts_values[extra] = (Datum) 0;
			slot->tts_isnull[extra] = true;
		}
	}
	evs_insert_slots(writer, count, &row);
}

/* The direct path. */
static void
insert_direct(EvsWriter *writer, const EvsPlace *place, const EvsEvent *events, int count)
{
	for (int from = 0; from < count; from += EVS_INSERT_BATCH)
		insert_batch(writer, place, events, from, Min(EVS_INSERT_BATCH, count - from));
}

/* Is this row, on its way through the insert trigger, the one that append() made? Asked once. */
bool
evs_insert_claims(Oid relid, EvsPosition position)
{
	if (claims == NULL || relid != claims->relid || position != claims->position)
		return false;
	claims->relid = InvalidOid;
	return true;
}

/* The other path: the executor's INSERT, one event at a time. */
static void
insert_through_spi(EvsWriter *writer, const EvsPlace *place, const EvsEvent *events, int count)
{
	Oid			types[EVS_COLUMN_COUNT] = {INT8OID, INT8OID, TIMESTAMPTZOID, INT4OID, UUIDOID,
	TEXTOID, TEXTOID, JSONBOID, JSONBOID, TEXTARRAYOID};
	Claim	   *claim = MemoryContextAllocZero(TopTransactionContext, sizeof(Claim));
	SPIPlanPtr	plan;

	/* Not on the stack: an error leaves this function, and the claim is still to be found. */
	claim->subxact = GetCurrentSubTransactionId();
	claim->outer = claims;

	SPI_connect();
	plan = evs_plan_prepare(writer->table,
						  "INSERT INTO %s (\"position\", version, recorded_at, schema_version, id,"
						  " stream, type, data, metadata, tags)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
						  EVS_COLUMN_COUNT, types, 0);
	for (int i = 0; i < count; i++)
	{
		Datum		values[EVS_COLUMN_COUNT];
		bool		nulls[EVS_COLUMN_COUNT];
		char		null_flags[EVS_COLUMN_COUNT + 1];
		int			result;

		fill_row(place, &events[i], i, values, nulls);
		for (int column = 0; column < EVS_COLUMN_COUNT; column++)
			null_flags[column] = nulls[column] ? 'n' : ' ';
		null_flags[EVS_COLUMN_COUNT] = '\0';

		claim->relid = writer->table->relid;
		claim->position = place->first_position + i;
		claims = claim;
		result = SPI_execute_snapshot(plan, values, null_flags, InvalidSnapshot, InvalidSnapshot, false, false, 0);
		claims = claim->outer;
		if (result != SPI_OK_INSERT)
			elog(ERROR, "could not insert an event: %s", SPI_result_code_string(result));
		if (SPI_processed != 1)
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					 errmsg("an event of table %s was not inserted", writer->table->name),
					 errdetail("A trigger or rule of the table kept it out.")));
	}
	evs_plan_check(writer->table, plan);
	SPI_finish();
	pfree(claim);
}

/* Insert a run of events of one stream, or of none. */
void
evs_insert_events(EvsWriter *writer, const EvsPlace *place, const EvsEvent *events, int count)
{
	if (!writer->direct || writer->table->followed)
		evs_fire_begin(&writer->firing, writer->rel);
	if (writer->direct)
		insert_direct(writer, place, events, count);
	else
		insert_through_spi(writer, place, events, count);
}
