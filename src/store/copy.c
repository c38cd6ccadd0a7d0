/*
 * copy.c
 *		COPY into an event table, many rows at once.
 *
 * The server's COPY inserts row by row where a table has a BEFORE trigger, and
 * event tables have one. So the plain case is ours: new events (no positions)
 * into a table that append() writes to directly, by somebody who may. What the
 * statement is read with (options, columns, formats, encodings, where the data
 * come from) remains the server's, and so does every other COPY, and every one
 * that is to be refused: whatever is not certainly ours is handed on before
 * anything was done, and the trigger sees to its rows.
 *
 * Rows are read into a batch. For a batch we do what append() does for a call
 * (append.c): take the stripes, learn the streams' last versions, give versions
 * and then positions, both in the order of the rows, insert, and keep of the
 * stripes what must be kept. So a COPY keeps no stream's stripe, however long it
 * runs: its own events guard their streams, as they are not committed.
 *
 * For that reason the version of a stream which a batch has added to is known
 * to the next batch: until we commit nobody else can add to it, and while a COPY
 * runs, neither can this session. Such streams are remembered, without taking
 * their stripes again, up to a bound; then all are forgotten, and learnt anew.
 *
 * An error says which line it is about. It is found when the line is read, if
 * the line alone tells; else when its batch is inserted.
 */
#include "evstore.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_trigger.h"
#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "commands/progress.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "pgstat.h"
#include "store/append.h"
#include "store/copy.h"
#include "store/insert.h"
#include "store/position.h"
#include "store/row.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A batch ends when its rows take so much memory, what it took to read them included. */
#define BATCH_BYTES		(1024 * 1024)

/* Streams are forgotten when they take so much. */
#define STREAMS_BYTES	(1024 * 1024)

/* In place of a row of the batch: the one that is being read. */
#define ROW_BEING_READ	(-1)

/* A stream that this COPY adds to. */
typedef struct CopyStream
{
	const text *name;			/* hash key */
	EvsVersion	version;		/* the last one; of a stream of an earlier batch, an event of ours */
} CopyStream;

/* A row of the batch; its columns are in the writer's slot of the same number. */
typedef struct CopyRow
{
	uint64		line;
	CopyStream *stream;
} CopyRow;

/* A running COPY. */
typedef struct Copy
{
	Relation	rel;
	EvsTable   *table;
	EvsWriter  *writer;
	CopyFromState source;
	MemoryContext batch;		/* what is forgotten after each batch */
	HTAB	   *streams;
	MemoryContext streams_context;
	CopyStream *new_streams[EVS_INSERT_BATCH];	/* of this batch: to be learnt */
	int			new_stream_count;
	CopyRow		rows[EVS_INSERT_BATCH];
	int			row_count;
	int			row;			/* which one an error would be about, or ROW_BEING_READ */
} Copy;

/* Is every option one that only says how the data are written? */
static bool
options_are_plain(List *options)
{
	static const char *const plain[] = {"format", "delimiter", "null", "header", "quote", "escape",
	"encoding", "force_not_null", "force_null"};
	ListCell   *cell;

	foreach(cell, options)
	{
		bool		found = false;

		for (int i = 0; i < lengthof(plain); i++)
			found = found || strcmp(lfirst_node(DefElem, cell)->defname, plain[i]) == 0;
		if (!found)
			return false;
	}
	return true;
}

/* Are the columns an event's, without its position? */
static bool
columns_are_plain(Relation rel, List *names)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		bool		found = false;

		for (int i = EVS_COLUMN_POSITION; i < EVS_COLUMN_COUNT; i++)
			found = found || strcmp(strVal(lfirst(cell)), NameStr(TupleDescAttr(RelationGetDescr(rel), i)->attname)) == 0;
		if (!found)
			return false;
	}
	return true;
}

/* Is the insert trigger there once, and would it be fired for every row? */
static bool
trigger_is_plain(Relation rel)
{
	Oid			function = evs_catalog()->insert_function;
	int			count = 0;

	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgfoid != function)
			continue;
		if (trigger->tgenabled != TRIGGER_FIRES_ALWAYS || trigger->tgqual != NULL ||
			!TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT))
			return false;
		count++;
	}
	return count == 1;
}

/* May the calling role read from there? */
static bool
may_read(const CopyStmt *copy)
{
	return copy->filename == NULL ||
		has_privs_of_role(GetUserId(), copy->is_program ? ROLE_PG_EXECUTE_SERVER_PROGRAM : ROLE_PG_READ_SERVER_FILES);
}

/* Is this statement one that might be ours? The table is yet to be looked at. */
static bool
statement_is_plain(const CopyStmt *copy)
{
	return copy->is_from && copy->relation && copy->whereClause == NULL && copy->attlist != NIL &&
		options_are_plain(copy->options) && may_read(copy) &&
		!XactReadOnly && !IsInParallelMode() && evs_catalog_find() != NULL;
}

/* Refuse who may not insert into these columns. Done as the server does it, for everybody who follows its checks. */
static void
check_privileges(ParseState *state, Relation rel, List *names)
{
	ParseNamespaceItem *item = addRangeTableEntryForRelation(state, rel, RowExclusiveLock, NULL, false, false);
	EvsPermission *permission = EVS_NSITEM_PERMISSION(item);
	ListCell   *cell;

	permission->requiredPerms = ACL_INSERT;
	foreach(cell, CopyGetAttnums(RelationGetDescr(rel), rel, names))
		permission->insertedCols = bms_add_member(permission->insertedCols,
												  lfirst_int(cell) - FirstLowInvalidHeapAttributeNumber);
	EVS_CHECK_PERMISSIONS(state);
}

/* Hash of a stream's name. */
static uint32
stream_hash(const void *key, Size keysize)
{
	const text *name = *(const text *const *) key;

	return hash_bytes((const unsigned char *) VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

/* Are two names different? */
static int
stream_compare(const void *a, const void *b, Size keysize)
{
	const text *left = *(const text *const *) a;
	const text *right = *(const text *const *) b;

	if (VARSIZE_ANY_EXHDR(left) != VARSIZE_ANY_EXHDR(right))
		return 1;
	return memcmp(VARDATA_ANY(left), VARDATA_ANY(right), VARSIZE_ANY_EXHDR(left));
}

/* Begin to remember streams, with none. */
static void
begin_streams(Copy *copy)
{
	HASHCTL		control = {
		.keysize = sizeof(text *),
		.entrysize = sizeof(CopyStream),
		.hash = stream_hash,
		.match = stream_compare,
		.hcxt = copy->streams_context,
	};

	copy->streams = hash_create("evstore streams of COPY", 256, &control,
								HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

/* The stream of a row; one that is not known is put down as new. */
static CopyStream *
find_stream(Copy *copy, const text *name)
{
	bool		found;
	CopyStream *stream = hash_search(copy->streams, &name, HASH_ENTER, &found);

	if (!found)
	{
		text	   *kept = MemoryContextAlloc(copy->streams_context, VARSIZE_ANY(name));

		memcpy(kept, name, VARSIZE_ANY(name));
		stream->name = kept;
		copy->new_streams[copy->new_stream_count++] = stream;
	}
	return stream;
}

/* Find the streams of the batch, and the stripes of what it adds. */
static void
want_stripes(Copy *copy, EvsStripes *stripes)
{
	evs_stripes_init(stripes, copy->table->relid);
	copy->new_stream_count = 0;
	for (int i = 0; i < copy->row_count; i++)
	{
		TupleTableSlot *slot = evs_insert_filled(copy->writer, i);

		copy->rows[i].stream = find_stream(copy, evs_row_stream(slot->tts_values));
		evs_row_want_stripes(stripes, slot->tts_values, slot->tts_isnull);
	}
	for (int i = 0; i < copy->new_stream_count; i++)
	{
		const text *name = copy->new_streams[i]->name;

		evs_stripes_want(stripes, EVS_STRIPE_STREAM, EVS_STRIPE_ADD, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
}

/* Take the stripes, and learn the last version of each new stream. */
static void
lock_and_look(Copy *copy, const EvsStripes *stripes)
{
	TransactionId unfinished;

	do
	{
		unfinished = InvalidTransactionId;
		evs_stripes_take(stripes);
		for (int i = 0; i < copy->new_stream_count; i++)
			copy->new_streams[i]->version =
				evs_insert_newest_version(copy->writer, copy->new_streams[i]->name, &unfinished);
	} while (evs_stripes_yield(stripes, copy->rel, unfinished));
}

/* Insert the rows of the batch, and forget them. */
static void
insert_batch(Copy *copy)
{
	EvsStripes	stripes;
	EvsPosition first;
	TimestampTz now;

	copy->row = 0;
	evs_append_require_writable();
	want_stripes(copy, &stripes);
	lock_and_look(copy, &stripes);
	for (int i = 0; i < copy->row_count; i++)
	{
		TupleTableSlot *slot = evs_insert_filled(copy->writer, i);
		CopyStream *stream = copy->rows[i].stream;

		copy->row = i;
		stream->version = evs_row_follow(slot->tts_values, slot->tts_isnull, stream->version);
	}

	first = evs_position_allocate(copy->row_count);
	now = GetCurrentTimestamp();
	for (int i = 0; i < copy->row_count; i++)
	{
		TupleTableSlot *slot = evs_insert_filled(copy->writer, i);

		evs_row_place(slot->tts_values, slot->tts_isnull, first + i, now);
	}
	evs_insert_slots(copy->writer, copy->row_count, &copy->row);
	evs_stripes_keep_used(&stripes);

	copy->row_count = 0;
	copy->row = ROW_BEING_READ;
	MemoryContextReset(copy->batch);
	if (MemoryContextMemAllocated(copy->streams_context, true) > STREAMS_BYTES)
	{
		MemoryContextReset(copy->streams_context);
		begin_streams(copy);
	}
}

/* Read one more row into the batch; false at the end of the data. */
static bool
read_row(Copy *copy)
{
	TupleTableSlot *slot = evs_insert_slot(copy->writer, copy->row_count);

	CHECK_FOR_INTERRUPTS();
	/* There are no defaults to compute, and so no need of a context for it. */
	if (!NextCopyFrom(copy->source, NULL, slot->tts_values, slot->tts_isnull))
		return false;
	evs_row_check(copy->table, slot->tts_values, slot->tts_isnull);
	copy->rows[copy->row_count++].line = copy->source->cur_lineno;
	return true;
}

/* Says, in an error, which line of the data it is about. */
static void
line_context(void *arg)
{
	Copy	   *copy = arg;
	uint64		line = copy->source->cur_lineno;
	bool		valid = copy->source->line_buf_valid;

	if (copy->row != ROW_BEING_READ)
	{
		copy->source->cur_lineno = copy->rows[copy->row].line;
		copy->source->line_buf_valid = false;
	}
	CopyFromErrorCallback(copy->source);
	copy->source->cur_lineno = line;
	copy->source->line_buf_valid = valid;
}

/* Copy all rows; the answer is how many there were. */
static uint64
copy_rows(Copy *copy)
{
	ErrorContextCallback context = {.callback = line_context, .arg = copy, .previous = error_context_stack};
	MemoryContext caller = CurrentMemoryContext;
	uint64		count = 0;

	copy->batch = AllocSetContextCreate(caller, "evstore batch of COPY", 0, 256 * 1024, ALLOCSET_DEFAULT_MAXSIZE);
	copy->streams_context = AllocSetContextCreate(caller, "evstore streams of COPY", ALLOCSET_DEFAULT_SIZES);
	begin_streams(copy);
	copy->row = ROW_BEING_READ;
	evs_insert_bulk(copy->writer);

	error_context_stack = &context;
	MemoryContextSwitchTo(copy->batch);
	while (read_row(copy))
	{
		pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED, ++count);
		if (copy->row_count == EVS_INSERT_BATCH || MemoryContextMemAllocated(copy->batch, false) > BATCH_BYTES)
			insert_batch(copy);
	}
	if (copy->row_count > 0)
		insert_batch(copy);
	MemoryContextSwitchTo(caller);
	error_context_stack = context.previous;

	MemoryContextDelete(copy->streams_context);
	MemoryContextDelete(copy->batch);
	return count;
}

/* Has any row that brings these columns an id or tags? */
static bool
may_be_marked(Relation rel, List *names)
{
	List	   *columns = CopyGetAttnums(RelationGetDescr(rel), rel, names);

	return list_member_int(columns, EVS_COLUMN_ID) || list_member_int(columns, EVS_COLUMN_TAGS);
}

/* Carry a COPY out that is ours. */
static uint64
copy_into(Relation rel, EvsTable *table, const CopyStmt *statement, ParseState *state)
{
	Copy		copy = {.rel = rel, .table = table};
	uint64		count;

	check_privileges(state, rel, statement->attlist);
	copy.source = BeginCopyFrom(state, rel, NULL, statement->filename, statement->is_program,
								NULL, statement->attlist, statement->options);
	copy.writer = evs_insert_begin(table, rel, may_be_marked(rel, statement->attlist));
	count = copy_rows(&copy);
	evs_insert_end(copy.writer);
	EndCopyFrom(copy.source);
	return count;
}

/* If a statement is a COPY that is ours, carry it out; false if it is not, and nothing was done. */
bool
evs_copy_from(const PlannedStmt *statement, const char *query,
			  QueryEnvironment *environment, QueryCompletion *completion)
{
	const CopyStmt *copy = (const CopyStmt *) statement->utilityStmt;
	Relation	rel;
	EvsTable   *table;
	bool		ours;

	if (!IsA(copy, CopyStmt) || !statement_is_plain(copy))
		return false;

	/* The lock is the one that the server would take next, were it not ours. */
	rel = table_openrv_extended(copy->relation, RowExclusiveLock, true);
	if (rel == NULL)
		return false;
	if (!evs_relation_is_event_table(rel))
	{
		table_close(rel, NoLock);
		return false;
	}

	table = evs_table_enter(rel);
	ours = table->plain && evs_insert_is_direct(table) && columns_are_plain(rel, copy->attlist) && trigger_is_plain(rel);
	if (ours)
	{
		ParseState *state = make_parsestate(NULL);
		uint64		count;

		state->p_sourcetext = query;
		state->p_queryEnv = environment;
		count = copy_into(rel, table, copy, state);
		free_parsestate(state);
		if (completion)
			SetQueryCompletion(completion, CMDTAG_COPY, count);
		/* As after every utility statement: what comes next sees what we have done. */
		CommandCounterIncrement();
	}
	evs_table_leave();
	table_close(rel, NoLock);
	return ours;
}
