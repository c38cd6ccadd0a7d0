/*
 * audit.c
 *		Verifying projections in the background.
 *
 * Now and then an idle worker compares a sample of the keys of a query
 * projection, the one whose turn was longest ago, and notes in evstore._audit
 * what it found. Statements and handlers would have to be applied once more for
 * it, from the first event on: that is left to who asks for it. Where events were
 * skipped, differences are no news.
 *
 * Call everything here inside SPI.
 */
#include "evstore.h"

#include "base/owner.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/apply.h"
#include "project/audit.h"
#include "project/projection.h"
#include "project/verify.h"
#include "utils/guc.h"

/* The query projection that was audited longest ago, 0 if there is none. */
int
evs_audit_next(void)
{
	bool		isnull;

	evs_owner_run_extension("SELECT p.id FROM evstore._projection p"
					   " LEFT JOIN evstore._audit a ON a.projection = p.id"
					   " WHERE p.kind = 'query' AND p.rebuilds IS NULL AND p.shard_of IS NULL"
					   " AND NOT EXISTS (SELECT FROM evstore._projection s JOIN evstore._checkpoint c ON c.projection = s.id"
					   "  WHERE (s.id = p.id OR s.shard_of = p.id) AND c.skipped > 0)"
					   " ORDER BY a.verified_at NULLS FIRST, p.id LIMIT 1",
					   0, NULL, NULL, NULL, SPI_OK_SELECT);
	return SPI_processed == 0 ? 0 :
		DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Note what was found. */
void
evs_audit_record(int projection, int64 differences)
{
	Oid			types[] = {INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(projection), Int64GetDatum(differences)};

	evs_owner_run_extension("INSERT INTO evstore._audit SELECT id, pg_catalog.clock_timestamp(), nullif($2, -1)"
					   " FROM evstore._projection WHERE id = $1 ON CONFLICT (projection) DO UPDATE"
					   " SET verified_at = EXCLUDED.verified_at, differences = EXCLUDED.differences",
					   2, types, values, NULL, SPI_OK_INSERT);
}

/* Verify a sample of a projection, and note what was found. */
void
evs_audit(int id)
{
	EvsProjection *projection = evs_projection_load(id);
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	int			level = NewGUCNestLevel();
	int64		differences;

	if (projection == NULL)
		return;
	evs_apply_plan_for_many(projection);
	evs_verify(projection, evs_audit_sample, rows);
	AtEOXact_GUC(false, level);
	differences = tuplestore_tuple_count(rows);
	tuplestore_end(rows);
	evs_audit_record(id, differences);
	if (differences > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("projection \"%s\" differs from its events in %lld rows of a sample",
						projection->name, (long long) differences),
				 errhint("Run evstore.verify_projection() to see them, evstore.rebuild_projection() to mend them.")));
}
