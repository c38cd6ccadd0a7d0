/*
 * confine.c
 *		Keeping what this session runs from writing anywhere but in one schema.
 *
 * A projection that is applied once more, from the first event on, must not
 * touch what it wrote the first time, nor append its events again. What it
 * declared stands in a schema of its own (project/shadow.c), and while it is
 * applied, rows of other tables are not to be changed: whoever is about to asks
 * here first. They are the executor's permission check, TRUNCATE, and append().
 */
#include "evstore.h"

#include "base/confine.h"
#include "utils/lsyscache.h"

/* The only schema whose tables may be written, or InvalidOid: any. */
static Oid	confined_to = InvalidOid;

/* Confine writes to a schema, or to none in particular (InvalidOid). Returns what it was before, to be put back. */
Oid
evs_confine(Oid schema)
{
	Oid			before = confined_to;

	confined_to = schema;
	return before;
}

/* Refuse to write a table that stands elsewhere. */
void
evs_confine_check(Oid relid)
{
	if (!OidIsValid(confined_to) || get_rel_namespace(relid) == confined_to)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot write to table \"%s\" while its projection is computed anew", get_rel_name(relid)),
			 errdetail("It is none of the projection's read tables, or is named with its schema."),
			 errhint("Declare it in read_tables, and write its name without a schema, in functions without a search_path of their own.")));
}
