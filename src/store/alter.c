/*
 * alter.c
 *		What statements may do to guarded tables.
 *
 * ALTER TABLE can be harmless (a new column) or harmful (a disabled trigger),
 * and the objects alone cannot tell. So statements are looked at twice: before
 * they run, by the names in them, for the sake of a clear message; and after,
 * by what they did, because a name can come to mean another table while the
 * statement waits for its lock. The second look is the one that holds.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "store/alter.h"
#include "store/door.h"
#include "store/guard.h"
#include "store/table.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Relations and triggers that the running statement has made or altered: what it names may mean others. */
typedef struct Touched
{
	Oid			class;
	Oid			object;
	bool		altered;		/* or made */
	SubTransactionId subxact;	/* that did it */
} Touched;

static List *touched = NIL;		/* of Touched, in the transaction's memory */

/* What was touched and not checked was rolled back with its transaction. */
static void
alter_finished(bool committed)
{
	touched = NIL;
}

/* What a subtransaction touched is as it was. */
static void
alter_subxact_aborted(SubTransactionId subxact)
{
	ListCell   *cell;

	foreach(cell, touched)
		if (((Touched *) lfirst(cell))->subxact >= subxact)
			touched = foreach_delete_current(touched, cell);
}

const EvsXactSubscriber evs_alter_xact = {
	.finished = alter_finished,
	.subxact_aborted = alter_subxact_aborted,
};

/* Remember a relation or trigger for evs_alter_check_touched(). */
void
evs_alter_touch(Oid class, Oid object, bool altered)
{
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	Touched    *made = palloc_object(Touched);

	made->class = class;
	made->object = object;
	made->altered = altered;
	made->subxact = GetCurrentSubTransactionId();
	touched = lappend(touched, made);
	MemoryContextSwitchTo(caller);
}

/* Is this the name of one of the triggers that make a table guarded? */
static bool
trigger_is_ours(const char *name)
{
	return name != NULL &&
		(strcmp(name, EVS_TRIGGER_INSERT) == 0 || strcmp(name, EVS_TRIGGER_GUARD) == 0 ||
		 strcmp(name, EVS_TRIGGER_GUARD_ROW) == 0);
}

/* Is this the name of the trigger that applies inline projections? */
static bool
trigger_is_inline(const char *name)
{
	return name != NULL && strcmp(name, EVS_TRIGGER_INLINE) == 0;
}

/* Refuse a statement over a trigger of ours, by its name; others pass. */
static void
refuse_if_ours(const char *command, const char *trigger, Oid relid)
{
	if (trigger_is_ours(trigger))
		evs_door_refuse(command, relid);
	else if (trigger_is_inline(trigger) && evs_table_is_event_table(relid))
		evs_door_refuse_inline(command, relid);
}

/* The table of a rule, InvalidOid if it is gone. */
static Oid
get_rule_relation(Oid rule)
{
	Relation	rel = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relid;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(rule));
	scan = systable_beginscan(rel, RewriteOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	relid = HeapTupleIsValid(tuple) ? ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class : InvalidOid;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return relid;
}

/* The table of a trigger, InvalidOid if it is gone; refuse one that bears a name of ours and runs something else. */
static Oid
get_trigger_relation(Oid trigger)
{
	const EvsCatalog *catalog = evs_catalog();
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relid = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(rel, TriggerOidIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		Oid			proper = strcmp(NameStr(form->tgname), EVS_TRIGGER_INSERT) == 0 ?
			catalog->insert_function : catalog->guard_function;

		relid = form->tgrelid;
		if (trigger_is_ours(NameStr(form->tgname)) && form->tgfoid != proper)
			evs_door_refuse("CREATE OR REPLACE TRIGGER", relid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return relid;
}

/* The tables that a table inherits from. */
static List *
get_parents(Oid relid)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *parents = NIL;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parents = lappend_oid(parents, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return parents;
}

/*
 * Is a trigger that runs the function of inline projections not as the one that
 * we make? Under another name or as another kind of trigger it would apply
 * events twice, or not at all.
 */
static bool
inline_trigger_is_wrong(const Trigger *trigger, bool altered)
{
	return !trigger_is_inline(trigger->tgname) || trigger->tgtype != (TRIGGER_TYPE_INSERT | TRIGGER_TYPE_AFTER) ||
		trigger->tgnewtable == NULL || trigger->tgqual != NULL ||
		(altered && trigger->tgenabled != TRIGGER_FIRES_ALWAYS);
}

/*
 * What a guarded table has lost, NULL if nothing. Of our triggers, only one
 * that was altered must fire always: a new one has yet to be told to.
 */
static const char *
lost_promise(Relation rel, Oid altered_trigger)
{
	const EvsCatalog *catalog = evs_catalog();
	bool		is_event_table = evs_relation_is_event_table(rel);

	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];
		bool		ours = trigger->tgfoid == catalog->insert_function ||
			trigger->tgfoid == catalog->guard_function;

		if (is_event_table && trigger->tgfoid == catalog->inline_function &&
			inline_trigger_is_wrong(trigger, trigger->tgoid == altered_trigger))
			return "ALTER TRIGGER";
		if (is_event_table && trigger->tgfoid != catalog->inline_function && trigger_is_inline(trigger->tgname))
			return "CREATE TRIGGER";
		if (ours && trigger->tgoid == altered_trigger && trigger->tgenabled != TRIGGER_FIRES_ALWAYS)
			return "ALTER TABLE ... TRIGGER";
		if (ours && trigger->tgoid == altered_trigger && !trigger_is_ours(trigger->tgname))
			return "ALTER TRIGGER";
		if (!ours && is_event_table && TRIGGER_FOR_ROW(trigger->tgtype) &&
			TRIGGER_FOR_BEFORE(trigger->tgtype) && TRIGGER_FOR_INSERT(trigger->tgtype))
			return "CREATE TRIGGER ... BEFORE INSERT ... FOR EACH ROW";
	}
	if (is_event_table && !evs_relation_has_layout(rel))
		return "ALTER COLUMN";
	if (rel->rd_rules != NULL)
		return "CREATE RULE";
	if (OidIsValid(rel->rd_rel->reloftype))
		return "ALTER TABLE ... OF";
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return "SET UNLOGGED";
	if (rel->rd_rel->relispartition || has_superclass(RelationGetRelid(rel)) ||
		find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		return "ALTER TABLE ... INHERIT";
	return NULL;
}

/* Check a relation that was touched, if it is guarded, and those it inherits from. */
static void
check_touched_relation(Oid relid, Oid altered_trigger)
{
	Relation	rel;
	const char *harm = NULL;

	if (get_rel_relkind(relid) != RELKIND_RELATION && get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		return;
	if (has_superclass(relid))
	{
		List	   *parents = get_parents(relid);
		ListCell   *cell;

		foreach(cell, parents)
			if (evs_table_is_guarded(lfirst_oid(cell)))
				evs_door_refuse("ALTER TABLE ... INHERIT", lfirst_oid(cell));
	}
	rel = RelationIdGetRelation(relid);
	if (RelationIsValid(rel))
	{
		if (evs_table_is_guarded(relid))
			harm = lost_promise(rel, altered_trigger);
		RelationClose(rel);
	}
	if (harm)
		evs_door_refuse(harm, relid);
}

/*
 * After a utility statement: whatever names it used, and whatever they meant by
 * the time it had its locks, no guarded table has lost what makes it one.
 */
void
evs_alter_check_touched(void)
{
	List	   *pending = touched;
	ListCell   *cell;

	touched = NIL;
	evs_guard_extension_drop(InvalidOid, false);
	if (pending == NIL || creating_extension)
		return;
	CommandCounterIncrement();
	if (evs_catalog_find() == NULL)
		return;
	foreach(cell, pending)
	{
		Touched    *one = lfirst(cell);

		if (one->class == RelationRelationId)
			check_touched_relation(one->object, InvalidOid);
		else if (one->class == RewriteRelationId)
			check_touched_relation(get_rule_relation(one->object), InvalidOid);
		else
			check_touched_relation(get_trigger_relation(one->object),
								   one->altered ? one->object : InvalidOid);
	}
}

/* What, if anything, one action of ALTER TABLE does to a guarded table's promises. */
static const char *
harmful_alteration(const AlterTableCmd *action, Oid relid)
{
	if (EVS_ALTER_REWRITES_COLUMN(action->subtype))
		return evs_guard_has_column(relid, get_attnum(relid, action->name)) ? "ALTER COLUMN TYPE" : NULL;
	switch (action->subtype)
	{
		case AT_DisableTrig:
		case AT_EnableTrig:
		case AT_EnableReplicaTrig:
			return trigger_is_ours(action->name) ||
				(trigger_is_inline(action->name) && evs_table_is_event_table(relid)) ? "ALTER TABLE ... TRIGGER" : NULL;
		case AT_DisableTrigAll:
		case AT_DisableTrigUser:
		case AT_EnableTrigAll:
		case AT_EnableTrigUser:
			return "ALTER TABLE ... TRIGGER";
		case AT_DropNotNull:
			return evs_table_is_event_table(relid) &&
				evs_table_needs_not_null(get_attnum(relid, action->name)) ? "ALTER COLUMN" : NULL;
		case AT_ColumnDefault:
		case AT_AddIdentity:
			return evs_table_is_event_table(relid) &&
				evs_guard_has_column(relid, get_attnum(relid, action->name)) ? "ALTER COLUMN" : NULL;
		case AT_SetUnLogged:
			return "SET UNLOGGED";
		case AT_AddOf:
			return "ALTER TABLE ... OF";
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
		evs_door_refuse(command, relid);
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

		if (harm && trigger_is_inline(action->name))
			evs_door_refuse_inline(harm, relid);
		else if (harm)
			evs_door_refuse(harm, relid);
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
	if (statement->replace)
		refuse_if_ours("CREATE OR REPLACE TRIGGER", statement->trigname, relid);
	if (statement->row && (statement->timing & TRIGGER_TYPE_BEFORE) &&
		(statement->events & TRIGGER_TYPE_INSERT) && evs_table_is_event_table(relid))
		evs_door_refuse("CREATE TRIGGER ... BEFORE INSERT ... FOR EACH ROW", relid);
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
		if (evs_table_is_guarded(relid))
			refuse_if_ours("ALTER TRIGGER", statement->subname, relid);
	}
	else if (evs_table_is_event_table(relid) &&
			 evs_guard_has_column(relid, get_attnum(relid, statement->subname)))
		evs_door_refuse("RENAME COLUMN", relid);
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
		{
			if (strcmp(strVal(lfirst(cell)), EVS_EXTENSION) == 0)
				evs_guard_extension_drop(get_extension_oid(EVS_EXTENSION, true), true);
		}
		else if (statement->removeType == OBJECT_TABLE)
			refuse_if_guarded("DROP TABLE", makeRangeVarFromNameList(lfirst(cell)));
	}
}

/* A utility statement is about to run. Statements that cannot matter pass at once. */
void
evs_alter_check_utility(Node *statement)
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
		case T_CreateForeignTableStmt:
			check_create_table(&((CreateForeignTableStmt *) statement)->base);
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
