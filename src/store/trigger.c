/*
 * trigger.c
 *		Plain INSERT, and COPY: the same rules as append(), row by row.
 *
 * The BEFORE INSERT trigger fills in what append() would have. Here the row
 * reaches the index only after we return, so all stripes are kept until the
 * transaction ends. For the same reason nothing is remembered from one row to
 * the next: ON CONFLICT DO NOTHING may drop the row that was given a version,
 * and that version is the next row's.
 *
 * Whoever fires us has the table and its indexes open and locked; neither is
 * looked up or locked once more. A row that comes with a position is a restored
 * event (restore.c), unless append() itself made it (insert.c).
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "store/append.h"
#include "store/insert.h"
#include "store/position.h"
#include "store/restore.h"
#include "store/row.h"
#include "store/stream.h"
#include "store/table.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Take the stripes of a new event, to the end of the transaction, and learn its stream's last version. */
static EvsVersion
lock_and_look(Relation rel, EvsTable *table, const Datum *values, const bool *nulls)
{
	const text *stream = evs_row_stream(values);
	Relation	index = index_open(table->version_index, NoLock);
	TransactionId unfinished;
	EvsVersion	last;
	EvsStripes	stripes;

	evs_stripes_init(&stripes, table->relid);
	evs_stripes_want(&stripes, EVS_STRIPE_STREAM, EVS_STRIPE_ADD, VARDATA_ANY(stream), VARSIZE_ANY_EXHDR(stream));
	evs_row_want_stripes(&stripes, values, nulls);
	evs_stripes_leave_out_kept(&stripes);
	do
	{
		unfinished = InvalidTransactionId;
		evs_stripes_take(&stripes);
		last = evs_stream_newest(rel, index, table->probe, stream, &unfinished);
	} while (evs_stripes_yield(&stripes, rel, unfinished));
	evs_stripes_remember(&stripes);
	index_close(index, NoLock);
	return last;
}

/* A row with a position: keep it as it is, or refuse it. */
static void
restore(Relation rel, EvsTable *table, const Datum *values, const bool *nulls)
{
	EvsStripes	stripes;

	evs_row_check_payload(values, nulls);
	/* A condition must see restored events as well. */
	evs_stripes_init(&stripes, table->relid);
	evs_row_want_stripes(&stripes, values, nulls);
	evs_stripes_take(&stripes);
	evs_restore_row(rel, table, values, nulls);
}

/* What becomes of a row. */
static HeapTuple
insert_row(Relation rel, EvsTable *table, HeapTuple row)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *values = palloc_array(Datum, desc->natts);
	bool	   *nulls = palloc_array(bool, desc->natts);
	bool		positioned;

	heap_deform_tuple(row, desc, values, nulls);
	positioned = !nulls[EVS_COLUMN_POSITION - 1];
	if (positioned && evs_insert_claims(table->relid, DatumGetInt64(values[EVS_COLUMN_POSITION - 1])))
		return row;

	evs_append_require_writable();
	if (positioned)
	{
		restore(rel, table, values, nulls);
		return row;
	}
	evs_row_check(table, values, nulls);
	evs_row_follow(values, nulls, lock_and_look(rel, table, values, nulls));
	evs_row_place(values, nulls, evs_position_allocate(1), GetCurrentTimestamp());
	return heap_form_tuple(desc, values, nulls);
}

PG_FUNCTION_INFO_V1(evs_insert_trigger);

/* evstore._insert(): BEFORE INSERT FOR EACH ROW on every event table. */
Datum
evs_insert_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	EvsTable   *table;
	HeapTuple	row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evstore._insert() must be fired before insert for each row")));

	/* Anybody can put this trigger on a table of theirs: the columns are checked before they are read. */
	table = evs_table_enter(trigger->tg_relation);
	row = insert_row(trigger->tg_relation, table, trigger->tg_trigtuple);
	evs_table_leave();
	return PointerGetDatum(row);
}
