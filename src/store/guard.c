/*
 * guard.c
 *		The guard that keeps tables append-only.
 *
 * Layers, from the inside out; each holds without the ones after it:
 *
 *	triggers	against UPDATE, DELETE and TRUNCATE, enabled ALWAYS, so that
 *				session_replication_role does not switch them off; they also
 *				hold where the library is not preloaded
 *	permissions	the executor's check, before a row is looked at: any DML that
 *				would delete, or update a column (plain ACL_UPDATE is not
 *				enough: SELECT FOR KEY SHARE and foreign keys ask for it too)
 *	objects		dropping or truncating the table or a part of it, by whatever
 *				command: DROP TABLE, DROP SCHEMA CASCADE, DROP OWNED ...
 *	statements	ALTER TABLE and its like, where objects cannot tell a harmless
 *				change from a harmful one; by name, before they run, for the
 *				sake of a clear message, and by what they did, after: a name
 *				can come to mean another table while a statement waits
 *
 * This file has the first three, alter.c the fourth; door.c opens all of them.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/catalog.h"
#include "base/errors.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "store/alter.h"
#include "store/door.h"
#include "store/guard.h"
#include "store/table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* The extension itself is being dropped, and its own tables with it. */
static bool extension_going = false;

/* However it ended. */
static void
guard_finished(bool committed)
{
	extension_going = false;
}

/* An error in the statement may be caught, and the next one is another. */
static void
guard_subxact_aborted(SubTransactionId subxact)
{
	extension_going = false;
}

const EvsXactSubscriber evs_guard_xact = {
	.finished = guard_finished,
	.subxact_aborted = guard_subxact_aborted,
};

PG_FUNCTION_INFO_V1(evs_guard_trigger);

/* evstore._guard(): the innermost layer. */
Datum
evs_guard_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *command;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evstore._guard() must be fired by a before trigger")));

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		command = "UPDATE";
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		command = "DELETE";
	else if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		command = "TRUNCATE";
	else
		command = "INSERT";

	if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
	{
		evs_door_refuse(command, RelationGetRelid(trigger->tg_relation));
		evs_door_write_log();
		return PointerGetDatum(NULL);
	}
	/* The log has the statement; its rows need not each be in it. */
	if (!evs_door_is_open())
		evs_door_refuse(command, RelationGetRelid(trigger->tg_relation));
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
						   trigger->tg_newtuple : trigger->tg_trigtuple);
}

/* The executor's permission check: refuse DML that changes or removes rows. */
void
evs_guard_check_dml(List *permissions)
{
	ListCell   *cell;

	foreach(cell, permissions)
	{
		EvsPermission *permission = lfirst(cell);
		bool		deletes = (permission->requiredPerms & ACL_DELETE) != 0;
		bool		updates = (permission->requiredPerms & ACL_UPDATE) != 0 &&
			!bms_is_empty(permission->updatedCols);

		if ((deletes || updates) && !evs_door_is_open() && evs_table_is_guarded(permission->relid))
			evs_door_refuse(deletes ? "DELETE" : "UPDATE", permission->relid);
	}
}

/* Refuse to drop a guarded table unless the door is open. */
void
evs_guard_check_drop(Oid relid)
{
	if (!evs_door_is_open())
		evs_door_refuse("DROP TABLE", relid);
}

/* Is this column, by number, one that the guard protects? */
bool
evs_guard_has_column(Oid relid, AttrNumber column)
{
	return evs_table_is_event_table(relid) ?
		column > 0 && column <= EVS_COLUMN_COUNT : evs_table_is_guarded(relid);
}

/* Is an index one of those that an event table stands on? */
static bool
index_is_guarded(Oid indexid, Oid relid)
{
	HeapTuple	tuple;
	Form_pg_index form;
	bool		answer;

	if (!evs_table_is_event_table(relid))
		return false;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	answer = form->indisunique &&
		((form->indnkeyatts == 1 && form->indkey.values[0] == EVS_COLUMN_POSITION) ||
		 (form->indnkeyatts == 1 && form->indkey.values[0] == EVS_COLUMN_ID) ||
		 (form->indnkeyatts == 2 && form->indkey.values[0] == EVS_COLUMN_STREAM &&
		  form->indkey.values[1] == EVS_COLUMN_VERSION));
	ReleaseSysCache(tuple);
	return answer;
}

/* A relation, or a column of it, is about to be dropped. */
static void
check_relation_drop(Oid relid, AttrNumber column)
{
	char		kind = get_rel_relkind(relid);

	if (kind == RELKIND_INDEX)
	{
		Oid			table = IndexGetRelation(relid, true);

		if (OidIsValid(table) && index_is_guarded(relid, table))
			evs_door_refuse("DROP INDEX", table);
	}
	else if (kind == RELKIND_RELATION &&
			 (column == 0 ? evs_table_is_guarded(relid) : evs_guard_has_column(relid, column)))
		evs_door_refuse(column == 0 ? "DROP TABLE" : "DROP COLUMN", relid);
}

/* One row of a catalog that has no cache, by its oid; the caller ends the scan. */
static HeapTuple
fetch_by_oid(Relation rel, Oid index, AttrNumber oid_column, Oid oid, SysScanDesc *scan)
{
	ScanKeyData key;

	ScanKeyInit(&key, oid_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	*scan = systable_beginscan(rel, index, true, NULL, 1, &key);
	return systable_getnext(*scan);
}

/* A trigger is about to be dropped. */
static void
check_trigger_drop(Oid trigger)
{
	const EvsCatalog *catalog = evs_catalog_find();
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple = fetch_by_oid(rel, TriggerOidIndexId, Anum_pg_trigger_oid, trigger, &scan);

	if (HeapTupleIsValid(tuple) && catalog)
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (form->tgfoid == catalog->insert_function || form->tgfoid == catalog->guard_function)
			evs_door_refuse("DROP TRIGGER", form->tgrelid);
		else if (form->tgfoid == catalog->inline_function && evs_table_is_event_table(form->tgrelid))
			evs_door_refuse_inline("DROP TRIGGER", form->tgrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Is this extension evstore? */
static bool
is_evstore(Oid extension)
{
	const char *name = get_extension_name(extension);

	return name != NULL && strcmp(name, EVS_EXTENSION) == 0;
}

/* An extension is about to be dropped: not this one while it guards anything. */
static void
check_extension_drop(Oid extension)
{
	const EvsCatalog *catalog = evs_catalog_find();
	Oid			log;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (catalog == NULL || !is_evstore(extension))
		return;
	log = get_relname_relid("maintenance_log", catalog->schema);
	rel = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if ((form->tgfoid == catalog->insert_function || form->tgfoid == catalog->guard_function) &&
			form->tgrelid != log)
			ereport(ERROR,
					(errcode(ERRCODE_EVS_APPEND_ONLY),
					 errmsg("cannot drop extension %s while it guards tables", EVS_EXTENSION),
					 errdetail("Table %s is append-only.", evs_door_target_name(form->tgrelid)),
					 errhint("Drop event tables with evstore.drop_event_table() first.")));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * DROP EXTENSION of evstore begins, or, with "going" false, a statement has
 * ended: the extension's own guarded table goes with it, and only with it.
 */
void
evs_guard_extension_drop(Oid extension, bool going)
{
	if (going)
		check_extension_drop(extension);
	extension_going = going && is_evstore(extension);
}

/*
 * The guard goes by the oids of the extension's own objects; whoever renames or
 * replaces those would switch it off for all tables at once.
 */
static void
check_own_object(Oid class, Oid object)
{
	const EvsCatalog *catalog = evs_catalog_find();
	bool		ours;

	if (catalog == NULL || creating_extension || evs_door_is_open())
		return;
	ours = (class == NamespaceRelationId && object == catalog->schema) ||
		(class == RelationRelationId && object == catalog->position_sequence) ||
		(class == TypeRelationId && (object == catalog->event_type || object == catalog->new_event_type)) ||
		(class == ProcedureRelationId && (object == catalog->insert_function || object == catalog->guard_function ||
											  object == catalog->inline_function));
	if (ours)
		ereport(ERROR,
				(errcode(ERRCODE_EVS_APPEND_ONLY),
				 errmsg("cannot alter objects that extension %s goes by", EVS_EXTENSION),
				 errhint("A superuser can set evstore.maintenance to change them all the same.")));
}

/* A constraint is about to be dropped: have its table, if it is not a domain's, looked at afterwards. */
static void
touch_table_of_constraint(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Oid			relid;

	if (!HeapTupleIsValid(tuple))
		return;
	relid = ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid;
	ReleaseSysCache(tuple);
	if (OidIsValid(relid))
		evs_alter_touch(RelationRelationId, relid, true);
}

/* An object is made, altered, or about to be dropped or truncated. */
void
evs_guard_check_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	switch (access)
	{
		case OAT_POST_CREATE:
			if (class == ProcedureRelationId)
				check_own_object(class, object);
			if (class == TriggerRelationId || class == RelationRelationId || class == RewriteRelationId)
				evs_alter_touch(class, object, false);
			break;
		case OAT_POST_ALTER:
			check_own_object(class, object);
			if (class == TriggerRelationId || class == RelationRelationId)
				evs_alter_touch(class, object, true);
			else if (class == InheritsRelationId)	/* whose object is the child */
				evs_alter_touch(RelationRelationId, object, true);
			break;
		case OAT_TRUNCATE:
			if (!evs_door_is_open() && evs_table_is_guarded(object))
				evs_door_refuse("TRUNCATE", object);
			break;
		case OAT_DROP:
			/* REINDEX CONCURRENTLY, CLUSTER and their like drop what they have replaced. */
			if ((((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) || extension_going)
				break;
			if (class == RelationRelationId)
				check_relation_drop(object, sub);
			else if (class == TriggerRelationId)
				check_trigger_drop(object);
			else if (class == ConstraintRelationId)	/* in 18, NOT NULL is one */
				touch_table_of_constraint(object);
			else if (class == ExtensionRelationId)
				check_extension_drop(object);
			break;
		default:
			break;
	}
}
