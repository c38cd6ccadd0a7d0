/*
 * kept.c
 *		The projections of a database, for whoever waits for them.
 */
#include "evstore.h"

#include "base/owner.h"
#include "executor/spi.h"
#include "project/kept.h"
#include "utils/builtins.h"

/* Copy a row that SPI returned. */
static EvsKept *
copy_row(HeapTuple row, TupleDesc desc)
{
	EvsKept    *kept = palloc_object(EvsKept);
	bool		isnull;

	kept->projection = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
	kept->name = TextDatumGetCString(SPI_getbinval(row, desc, 2, &isnull));
	kept->read_table = DatumGetObjectId(SPI_getbinval(row, desc, 3, &isnull));
	if (isnull)
		kept->read_table = InvalidOid;
	kept->is_inline = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
	kept->checkpoint = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
	return kept;
}

/* All projections, each an EvsKept, by id. */
List *
evs_kept_list(void)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	EvsOwnerFrame frame;
	List	   *list = NIL;

	SPI_connect();
	evs_owner_begin_extension(&frame);
	if (SPI_execute("SELECT p.id, p.name, coalesce(p.state_table, p.read_table)::oid, p.mode = 'inline', min(c.\"position\")"
					" FROM evstore._projection p JOIN evstore._projection s ON coalesce(s.shard_of, s.id) = p.id"
					" JOIN evstore._checkpoint c ON c.projection = s.id"
					" WHERE p.rebuilds IS NULL AND p.shard_of IS NULL GROUP BY p.id ORDER BY p.id",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the projections");
	spi = MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		list = lappend(list, copy_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
	MemoryContextSwitchTo(spi);
	evs_owner_end(&frame);
	SPI_finish();
	return list;
}
