/*
 * sequence.c
 *		The sequence that positions are reserved from.
 *
 * Its value is the first position of the range reserved last, its increment
 * the length of a range. It is what remains of the positions when the server
 * stops: whatever was handed out lies in a range that the sequence has left
 * behind.
 *
 * The callers hold the sequence under a self-exclusive lock. Users may still
 * call nextval() and setval(), if they have the right: position.c looks at
 * what it gets.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/owner.h"
#include "catalog/pg_sequence.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "store/sequence.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#define LAST_POSITION	((uint64) PG_INT64_MAX)

/* The last position of the range that begins at "first": bigint may end before the range does. */
static uint64
range_end(Oid sequence, uint64 first)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
	uint64		length;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	length = ((Form_pg_sequence) GETSTRUCT(tuple))->seqincrement;
	ReleaseSysCache(tuple);
	return first > LAST_POSITION - length ? LAST_POSITION : first + length - 1;
}

/* The last position reserved so far, 0 if none was; whatever the caller may read. */
uint64
evs_sequence_last(Oid sequence)
{
	Datum		first;
	EvsOwnerFrame frame;
	LOCAL_FCINFO(fcinfo, 1);

	evs_owner_begin_extension(&frame);
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(sequence);
	fcinfo->args[0].isnull = false;
	first = pg_sequence_last_value(fcinfo);
	evs_owner_end(&frame);
	return fcinfo->isnull ? 0 : range_end(sequence, DatumGetInt64(first));
}

/*
 * Reserve the next range and return its first position and its last. When the
 * sequence logged a new value, that record is flushed before anybody can use
 * the range (invariant 1): under asynchronous commit nothing else would flush it.
 */
uint64
evs_sequence_reserve(Oid sequence, uint64 *end)
{
	XLogRecPtr	before = XactLastRecEnd;
	uint64		first;

	if (evs_sequence_last(sequence) == LAST_POSITION)
		ereport(ERROR,
				(errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
				 errmsg("the positions of this database are used up"),
				 errdetail("The last one, %llu, is reserved.", (unsigned long long) LAST_POSITION),
				 errhint("No store gets there by appending: the sequence evstore.position_sequence was moved, or an event was inserted with such a position.")));

	first = nextval_internal(sequence, false);
	if (XactLastRecEnd != before)
		XLogFlush(XactLastRecEnd);
	*end = range_end(sequence, first);
	return first;
}

/* Let the sequence go on beyond "last", with the right of its owner. */
void
evs_sequence_move(Oid sequence, uint64 last)
{
	EvsOwnerFrame frame;

	evs_owner_begin_extension(&frame);
	(void) DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum((int64) last));
	evs_owner_end(&frame);
}
