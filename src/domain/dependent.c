/*
 * dependent.c
 *		Keeping an event table while something is declared for it.
 *
 * Rows of evstore._aggregate, _command, _event_type and _upcaster name their
 * event table by its oid, which the server does not follow as it follows our
 * views. So a table is dropped after them, as after its projections; what is
 * remembered of commands without events goes with it.
 */
#include "evstore.h"

#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "domain/definition.h"
#include "domain/dependent.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Refuse to drop an event table that anything is declared for. */
static void
check_drop(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	bool		isnull;
	Datum		names;

	SPI_connect();
	evs_owner_run_extension("SELECT pg_catalog.string_agg(what, ', ' ORDER BY what) FROM"
					   " (SELECT 'aggregate ' || pg_catalog.quote_ident(category) FROM evstore._aggregate"
					   " WHERE event_table::oid = $1 UNION ALL"
					   " SELECT 'command ' || pg_catalog.quote_ident(name) || ' of ' || pg_catalog.quote_ident(category)"
					   " FROM evstore._command WHERE event_table::oid = $1 UNION ALL"
					   " SELECT pg_catalog.format('version %s of event type %I', schema_version, type)"
					   " FROM evstore._event_type WHERE event_table::oid = $1 UNION ALL"
					   " SELECT pg_catalog.format('the upcaster from version %s of event type %I', from_version, type)"
					   " FROM evstore._upcaster WHERE event_table::oid = $1) declared (what)",
					   lengthof(types), types, values, NULL, SPI_OK_SELECT);
	names = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop event table \"%s\" because of what is declared for it", get_rel_name(relid)),
				 errdetail("Declared: %s.", TextDatumGetCString(names)),
				 errhint("Drop it with evstore.drop_aggregate(), drop_command(), drop_event_type() and drop_upcaster() first.")));
	SPI_finish();
}

/* Forget the commands without events of an event table that is going. */
static void
forget_commands(Oid relid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};

	SPI_connect();
	evs_owner_run_extension("DELETE FROM evstore._command_without_events WHERE event_table::oid = $1",
					   lengthof(types), types, values, NULL, SPI_OK_DELETE);
	SPI_finish();
}

/*
 * A relation is about to be dropped, by whatever command. The triggers of an
 * event table have gone before it, so any table may be one.
 */
void
evs_dependent_check_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	const EvsCatalog *catalog;

	/* What the server drops for itself is no event table: the old file of a table that was rewritten. */
	if (access != OAT_DROP || class != RelationRelationId || sub != 0 ||
		(((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) ||
		get_rel_relkind(object) != RELKIND_RELATION || get_rel_persistence(object) == RELPERSISTENCE_TEMP)
		return;
	catalog = evs_catalog_find();
	/* Of an extension that is going, there may be no tables any more. */
	if (catalog == NULL || get_rel_namespace(object) == catalog->schema ||
		!OidIsValid(get_relname_relid("_command_without_events", catalog->schema)))
		return;
	check_drop(object);
	forget_commands(object);
}

/* DROP TABLE is about to run: say the reason before a projection of snapshots is named. */
void
evs_dependent_check_utility(Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, DropStmt) || ((DropStmt *) statement)->removeType != OBJECT_TABLE)
		return;
	foreach(cell, ((DropStmt *) statement)->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(cell)), NoLock, true);

		if (evs_table_is_event_table(relid))
			check_drop(relid);
	}
}
