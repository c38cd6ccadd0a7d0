/*
 * door.c
 *		The one door in the guard, and its record.
 *
 * evstore.maintenance opens the guard of append-only tables for a superuser.
 * Whoever would refuse a change asks here: with the door shut it is refused,
 * with the door open it is noted, and what was noted is written to
 * evstore.maintenance_log in the same transaction, so that the record stands
 * and falls with the change.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "base/errors.h"
#include "base/owner.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "store/door.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* What was done under evstore.maintenance and is not in the log yet. */
typedef struct Note
{
	const char *command;
	const char *target;
	SubTransactionId subxact;
} Note;

static List *notes = NIL;		/* of Note, in the transaction's memory */

/* What was noted and not written was rolled back with its transaction. */
static void
door_finished(bool committed)
{
	notes = NIL;
}

/* Likewise with its subtransaction. */
static void
door_subxact_aborted(SubTransactionId subxact)
{
	ListCell   *cell;

	foreach(cell, notes)
		if (((Note *) lfirst(cell))->subxact >= subxact)
			notes = foreach_delete_current(notes, cell);
}

const EvsXactSubscriber evs_door_xact = {
	.finished = door_finished,
	.subxact_aborted = door_subxact_aborted,
};

/* Is the door open? The setting alone does not open it: it may be inherited. */
bool
evs_door_is_open(void)
{
	return evs_maintenance && superuser();
}

/* Qualified name of a relation, for messages and the log. */
const char *
evs_door_target_name(Oid relid)
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
	made->subxact = GetCurrentSubTransactionId();
	notes = lappend(notes, made);
	MemoryContextSwitchTo(caller);
}

/* Refuse a change of a guarded table, or, if the door is open, note it. */
void
evs_door_refuse(const char *command, Oid relid)
{
	const char *target = evs_door_target_name(relid);

	if (evs_door_is_open())
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

/* The same for a change of the trigger that applies inline projections. */
void
evs_door_refuse_inline(const char *command, Oid relid)
{
	const char *target = evs_door_target_name(relid);

	if (evs_door_is_open())
	{
		note(command, target);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_EVS_APPEND_ONLY),
			 errmsg("cannot execute %s on trigger \"%s\" of event table %s", command, EVS_TRIGGER_INLINE, target),
			 errdetail("Inline projections would miss events."),
			 errhint("Use evstore.set_projection(name, mode => 'async') to have workers apply a projection.")));
}

/* Write what was noted into evstore.maintenance_log. */
void
evs_door_write_log(void)
{
	List	   *pending = notes;
	ListCell   *cell;
	EvsOwnerFrame frame;
	Oid			types[] = {NAMEOID, TEXTOID, TEXTOID};
	Datum		role;

	/* ROLLBACK leaves no transaction to write in, and nothing to write. */
	if (pending == NIL || !IsTransactionState())
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
