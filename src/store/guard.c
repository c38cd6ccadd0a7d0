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
 *				change from a harmful one
 *
 * evstore.maintenance opens all of them for a superuser, and what is done then
 * is recorded in evstore.maintenance_log, in the same transaction.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/catalog.h"
#include "base/errors.h"
#include "base/owner.h"
#include "base/settings.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_relation.h"
#include "store/guard.h"
#include "store/table.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* What was done under evstore.maintenance and is not in the log yet. */
typedef struct Note
{
	const char *command;
	const char *target;
} Note;

static List *notes = NIL;		/* of Note, in the transaction's memory */

/* What was noted and not written was rolled back with its transaction. */
static void
guard_finished(bool committed)
{
	notes = NIL;
}

const EvsXactSubscriber evs_guard_xact = {.finished = guard_finished};

/* Is the door open? The setting alone does not open it: it may be inherited. */
static bool
maintenance_open(void)
{
	return evs_maintenance && superuser();
}

/* Qualified name of a relation, for messages and the log. */
static const char *
target_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/* Remember a change of a guarded table for the log: once a statement, however many parts it has. */
static void
note(const char *command, const char *target)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	ListCell   *cell;
	Note	   *made;

	foreach(cell, notes)
	{
		if (strcmp(((Note *) lfirst(cell))->target, target) == 0)
		{
			MemoryContextSwitchTo(caller);
			return;
		}
	}
	made = palloc_object(Note);
	made->command = pstrdup(command);
	made->target = pstrdup(target);
	notes = lappend(notes, made);
	MemoryContextSwitchTo(caller);
}

/* Refuse a change of a guarded table, or, if the door is open, note it. */
static void
refuse(const char *command, Oid relid)
{
	const char *target = target_name(relid);

	if (maintenance_open())
	{
		note(command, target);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_EVS_APPEND_ONLY),
			 errmsg("cannot execute %s on append-only table %s", command, target),
			 evs_table_is_event_table(relid) ?
			 errdetail("Events are history: they are added, never changed or removed.") : 0,
			 errhint("A superuser can set evstore.maintenance to change it all the same, on the record.")));
}

/* Refuse to drop a guarded table unless the door is open. */
void
evs_guard_check_drop(Oid relid)
{
	if (!maintenance_open())
		refuse("DROP TABLE", relid);
}

/* Write what was noted into evstore.maintenance_log. */
void
evs_guard_write_log(void)
{
	List	   *pending = notes;
	ListCell   *cell;
	EvsOwnerFrame frame;
	Oid			types[] = {NAMEOID, TEXTOID, TEXTOID};
	Datum		role;

	if (pending == NIL)
		return;
	notes = NIL;
	if (evs_catalog_find() == NULL)
		return;

	role = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	SPI_connect();
	evs_owner_begin_extension(&frame);
	foreach(cell, pending)
	{
		Note	   *pending_note = lfirst(cell);
		Datum		values[] = {role, CStringGetTextDatum(pending_note->command),
		CStringGetTextDatum(pending_note->target)};

		if (SPI_execute_with_args("INSERT INTO evstore.maintenance_log (acting_role, command, target)"
								  " VALUES ($1, $2, $3)",
								  lengthof(types), types, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not write evstore.maintenance_log");
	}
	evs_owner_end(&frame);
	SPI_finish();
}

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
		refuse(command, RelationGetRelid(trigger->tg_relation));
		evs_guard_write_log();
		return PointerGetDatum(NULL);
	}
	/* The log has the statement; its rows need not each be in it. */
	if (!maintenance_open())
		refuse(command, RelationGetRelid(trigger->tg_relation));
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

		if ((deletes || updates) && !maintenance_open() && evs_table_is_guarded(permission->relid))
			refuse(deletes ? "DELETE" : "UPDATE", permission->relid);
	}
}

/* Is this column, by number, one that the guard protects? */
static bool
column_is_guarded(Oid relid, AttrNumber column)
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

	/* Tables of the extension itself go with the extension, and only with it. */
	if (evs_catalog_find() && get_rel_namespace(relid) == evs_catalog()->schema)
		return;
	if (kind == RELKIND_INDEX)
	{
		Oid			table = IndexGetRelation(relid, true);

		if (OidIsValid(table) && index_is_guarded(relid, table))
			refuse("DROP INDEX", table);
	}
	else if (kind == RELKIND_RELATION &&
			 (column == 0 ? evs_table_is_guarded(relid) : column_is_guarded(relid, column)))
		refuse(column == 0 ? "DROP TABLE" : "DROP COLUMN", relid);
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

		if ((form->tgfoid == catalog->insert_function || form->tgfoid == catalog->guard_function) &&
			get_rel_namespace(form->tgrelid) != catalog->schema)
			refuse("DROP TRIGGER", form->tgrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* An extension is about to be dropped: not this one while it guards anything. */
static void
check_extension_drop(Oid extension)
{
	const EvsCatalog *catalog = evs_catalog_find();
	const char *name = get_extension_name(extension);
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (catalog == NULL || name == NULL || strcmp(name, EVS_EXTENSION) != 0)
		return;
	rel = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if ((form->tgfoid == catalog->insert_function || form->tgfoid == catalog->guard_function) &&
			get_rel_namespace(form->tgrelid) != catalog->schema)
			ereport(ERROR,
					(errcode(ERRCODE_EVS_APPEND_ONLY),
					 errmsg("cannot drop extension %s while it guards tables", EVS_EXTENSION),
					 errdetail("Table %s is append-only.", target_name(form->tgrelid)),
					 errhint("Drop event tables with evstore.drop_event_table() first.")));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Something is about to be dropped or truncated. */
void
evs_guard_check_object(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (access == OAT_TRUNCATE)
	{
		if (!maintenance_open() && evs_table_is_guarded(object))
			refuse("TRUNCATE", object);
		return;
	}
	/* REINDEX CONCURRENTLY, CLUSTER and their like drop what they have replaced. */
	if (access != OAT_DROP || (((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL))
		return;
	if (class == RelationRelationId)
		check_relation_drop(object, sub);
	else if (class == TriggerRelationId)
		check_trigger_drop(object);
	else if (class == ExtensionRelationId)
		check_extension_drop(object);
}

/* Is this the name of one of the triggers that make a table guarded? */
static bool
trigger_is_ours(const char *name)
{
	return name != NULL &&
		(strcmp(name, EVS_TRIGGER_INSERT) == 0 || strcmp(name, EVS_TRIGGER_GUARD) == 0 ||
		 strcmp(name, EVS_TRIGGER_GUARD_ROW) == 0);
}

/* What, if anything, one action of ALTER TABLE does to a guarded table's promises. */
static const char *
harmful_alteration(const AlterTableCmd *action, Oid relid)
{
	switch (action->subtype)
	{
		case AT_DisableTrig:
		case AT_EnableTrig:
		case AT_EnableReplicaTrig:
			return trigger_is_ours(action->name) ? "ALTER TABLE ... TRIGGER" : NULL;
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
			return "ALTER TABLE ... TRIGGER";
		case AT_AlterColumnType:
			return column_is_guarded(relid, get_attnum(relid, action->name)) ? "ALTER COLUMN TYPE" : NULL;
		case AT_ColumnDefault:
		case AT_AddIdentity:
		case AT_DropNotNull:
			return evs_table_is_event_table(relid) &&
				column_is_guarded(relid, get_attnum(relid, action->name)) ? "ALTER COLUMN" : NULL;
		case AT_SetUnLogged:
			return "SET UNLOGGED";
		case AT_AddInherit:
			return "ALTER TABLE ... INHERIT";
		default:
			return NULL;
	}
}

/* Refuse a statement on a table, named in it, if the table is guarded. */
static void
refuse_if_guarded(const char *command, const RangeVar *table)
{
	Oid			relid = RangeVarGetRelid(table, NoLock, true);

	if (evs_table_is_guarded(relid))
		refuse(command, relid);
}

/* ALTER TABLE, of the table itself, or making it parent or part of another. */
static void
check_alter_table(const AlterTableStmt *statement)
{
	Oid			relid = RangeVarGetRelid(statement->relation, NoLock, true);
	bool		guarded = evs_table_is_guarded(relid);
	ListCell   *cell;

	foreach(cell, statement->cmds)
	{
		AlterTableCmd *action = lfirst(cell);
		const char *harm = guarded ? harmful_alteration(action, relid) : NULL;

		if (harm)
			refuse(harm, relid);
		if (action->subtype == AT_AddInherit)
			refuse_if_guarded("ALTER TABLE ... INHERIT", (RangeVar *) action->def);
		else if (action->subtype == AT_AttachPartition && statement->objtype == OBJECT_TABLE)
			refuse_if_guarded("ALTER TABLE ... ATTACH PARTITION", ((PartitionCmd *) action->def)->name);
	}
}

/* CREATE TRIGGER: none that could change what an append has decided, none in place of ours. */
static void
check_create_trigger(const CreateTrigStmt *statement)
{
	Oid			relid = RangeVarGetRelid(statement->relation, NoLock, true);

	if (!evs_table_is_guarded(relid))
		return;
	if (statement->replace && trigger_is_ours(statement->trigname))
		refuse("CREATE OR REPLACE TRIGGER", relid);
	if (statement->row && (statement->timing & TRIGGER_TYPE_BEFORE) &&
		(statement->events & TRIGGER_TYPE_INSERT) && evs_table_is_event_table(relid))
		refuse("CREATE TRIGGER ... BEFORE INSERT ... FOR EACH ROW", relid);
}

/* RENAME of a column or trigger that the guard goes by. */
static void
check_rename(const RenameStmt *statement)
{
	Oid			relid;

	if (statement->renameType != OBJECT_COLUMN && statement->renameType != OBJECT_TRIGGER)
		return;
	relid = RangeVarGetRelid(statement->relation, NoLock, true);
	if (statement->renameType == OBJECT_TRIGGER)
	{
		if (evs_table_is_guarded(relid) && trigger_is_ours(statement->subname))
			refuse("ALTER TRIGGER", relid);
	}
	else if (evs_table_is_event_table(relid) &&
			 column_is_guarded(relid, get_attnum(relid, statement->subname)))
		refuse("RENAME COLUMN", relid);
}

/* CREATE TABLE ... INHERITS: rows of a child would show among the parent's. */
static void
check_create_table(const CreateStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->inhRelations)
		refuse_if_guarded("CREATE TABLE ... INHERITS", lfirst_node(RangeVar, cell));
}

/*
 * DROP of the extension or a table: objects would be refused as well, but only
 * the first one that goes, or the first that depends on it.
 */
static void
check_drop(const DropStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->objects)
	{
		if (statement->removeType == OBJECT_EXTENSION)
			check_extension_drop(get_extension_oid(strVal(lfirst(cell)), true));
		else if (statement->removeType == OBJECT_TABLE)
			refuse_if_guarded("DROP TABLE", makeRangeVarFromNameList(lfirst(cell)));
	}
}

/* A utility statement is about to run. Statements that cannot matter pass at once. */
void
evs_guard_check_utility(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			check_alter_table((AlterTableStmt *) statement);
			break;
		case T_CreateTrigStmt:
			check_create_trigger((CreateTrigStmt *) statement);
			break;
		case T_RenameStmt:
			check_rename((RenameStmt *) statement);
			break;
		case T_CreateStmt:
			check_create_table((CreateStmt *) statement);
			break;
		case T_RuleStmt:
			refuse_if_guarded("CREATE RULE", ((RuleStmt *) statement)->relation);
			break;
		case T_DropStmt:
			check_drop((DropStmt *) statement);
			break;
		default:
			break;
	}
}
