/*
 * followed.c
 *		Event tables that projections follow, which are not dropped from under them.
 */
#include "evstore.h"

#include "base/owner.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "project/followed.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Refuse to drop an event table that projections follow. */
static void
check_drop(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	bool		isnull;
	Datum		names;

	if (!evs_table_is_event_table(relid))
		return;
	SPI_connect();
	evs_owner_run_extension("SELECT string_agg(DISTINCT quote_ident(name), ', ')"
		" FROM evstore._projection WHERE $1 = ANY (coalesce(event_tables, ARRAY[event_table])::oid[])", 1, types, values, NULL, SPI_OK_SELECT);
	names = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop event table \"%s\" because projections follow it", get_rel_name(relid)),
				 errdetail("Projections: %s.", TextDatumGetCString(names)),
				 errhint("Drop them with evstore.drop_projection() first.")));
	SPI_finish();
}

/* A relation is about to be dropped, by whatever command. */
void
evs_followed_check_object(ObjectAccessType access, Oid class, Oid object, int sub)
{
	if (access == OAT_DROP && class == RelationRelationId && sub == 0 &&
		get_rel_relkind(object) == RELKIND_RELATION)
		check_drop(object);
}

/* DROP TABLE is about to run: say the reason before the server names our views. */
void
evs_followed_check_utility(Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, DropStmt) || ((DropStmt *) statement)->removeType != OBJECT_TABLE)
		return;
	foreach(cell, ((DropStmt *) statement)->objects)
		check_drop(RangeVarGetRelid(makeRangeVarFromNameList(lfirst(cell)), NoLock, true));
}
