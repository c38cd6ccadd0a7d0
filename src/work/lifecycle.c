/*
 * lifecycle.c
 *		What becomes of evstore's processes when databases and the extension
 *		come and go.
 *
 *	command						before it runs			at COMMIT				at ROLLBACK
 *	CREATE EXTENSION			-						launcher probes			-
 *	DROP EXTENSION				-						manager looks, ends		-
 *	DROP DATABASE [FORCE]		database held, stopped	released, forgotten		released, started
 *	ALTER DATABASE RENAME		database held, stopped	released, started		released, started
 *	ALTER DATABASE TABLESPACE	database held, stopped	released, started		released, started
 *	CREATE DATABASE TEMPLATE t	t held, stopped			t released, started;	t released, started
 *														the copy is probed
 *
 * "Held" means that no process of evstore is started in the database; core
 * refuses these commands while anybody is connected. A hold belongs to the
 * backend that runs the command and ends with its transaction, whichever way.
 * It works from any database, with or without the extension, because the hook
 * is installed wherever the library is preloaded.
 *
 * In the command only the wish is noted; it is acted on at commit or abort,
 * when the truth is known, by ringing the launcher. evs_lock() guards all
 * fields but the counter.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/catalog.h"
#include "base/database.h"
#include "base/wakeup.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "port/atomics.h"
#include "project/generation.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "work/lifecycle.h"
#include "work/process.h"

/* So many databases can be held, and so many be waiting for a probe, at once. */
#define MAX_HOLDS	64
#define MAX_WISHES	64

/* How long a command waits for our processes to leave; core waits 5 s more. */
#define STOP_TIMEOUT_MS 10000

typedef struct Hold
{
	Oid			database;		/* InvalidOid if free */
	int			holder;			/* pid of the backend that runs the command */
} Hold;

typedef struct Lifecycle
{
	pg_atomic_uint32 changes;	/* raised whenever the launcher should look */
	Hold		holds[MAX_HOLDS];
	int			wish_count;
	Oid			wishes[MAX_WISHES]; /* databases in which the extension was created */
} Lifecycle;

static Lifecycle *lifecycle = NULL;

/* Of the current transaction. */
static bool holding = false;
static List *extensions_created = NIL;	/* oids of any extensions, in the transaction's memory */
static bool extension_dropped = false;

/* Size of this area. */
static Size
lifecycle_size(void)
{
	return sizeof(Lifecycle);
}

/* Remember where the area is; nothing is held at first. */
static void
lifecycle_attach(void *area, bool fresh)
{
	lifecycle = area;
	if (fresh)
		pg_atomic_init_u32(&lifecycle->changes, 0);
}

const EvsShmemPart evs_lifecycle_shmem = {"evstore lifecycle", lifecycle_size, lifecycle_attach};

/* Have the launcher look at the databases again. */
static void
tell_launcher(void)
{
	pg_atomic_fetch_add_u32(&lifecycle->changes, 1);
	evs_wakeup_ring_launcher();
}

/* Counter of what the launcher should look at. */
uint32
evs_lifecycle_changes(void)
{
	return pg_atomic_read_u32(&lifecycle->changes);
}

/* Is a database in the hands of a command that needs it empty? */
bool
evs_lifecycle_is_held(Oid database)
{
	bool		held = false;

	LWLockAcquire(evs_lock(), LW_SHARED);
	for (int i = 0; i < MAX_HOLDS && !held; i++)
		held = lifecycle->holds[i].database == database;
	LWLockRelease(evs_lock());
	return held;
}

/* Take a database in which the extension was created; false if there is none. */
bool
evs_lifecycle_take_wish(Oid *database)
{
	bool		taken = false;

	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	if (lifecycle->wish_count > 0)
	{
		*database = lifecycle->wishes[--lifecycle->wish_count];
		taken = true;
	}
	LWLockRelease(evs_lock());
	return taken;
}

/* Leave a wish; where there is no more room, the launcher's timer finds the database. */
static void
add_wish(Oid database)
{
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	if (lifecycle->wish_count < MAX_WISHES)
		lifecycle->wishes[lifecycle->wish_count++] = database;
	LWLockRelease(evs_lock());
}

/* Hold a database for the rest of the transaction, and stop our processes in it. */
static void
hold(Oid database)
{
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < MAX_HOLDS; i++)
	{
		if (OidIsValid(lifecycle->holds[i].database))
			continue;
		lifecycle->holds[i].database = database;
		lifecycle->holds[i].holder = MyProcPid;
		holding = true;
		break;
	}
	LWLockRelease(evs_lock());

	(void) evs_process_stop(EVS_PROCESS_MANAGER, database);
	(void) evs_process_stop(EVS_PROCESS_WORKER, database);
	(void) evs_process_wait_stopped(database, STOP_TIMEOUT_MS);
}

/* Release what this transaction holds. */
static void
release_holds(void)
{
	LWLockAcquire(evs_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < MAX_HOLDS; i++)
		if (lifecycle->holds[i].holder == MyProcPid)
		{
			lifecycle->holds[i].database = InvalidOid;
			lifecycle->holds[i].holder = 0;
		}
	LWLockRelease(evs_lock());
}

/* The transaction is over: act on what was noted in it. */
static void
lifecycle_finished(bool committed)
{
	if (holding)
	{
		release_holds();
		tell_launcher();
	}
	if (extensions_created != NIL && committed)
	{
		add_wish(MyDatabaseId);
		tell_launcher();
	}
	if (extension_dropped && committed)
	{
		EvsDatabaseSlot slot = evs_database_find(MyDatabaseId);

		if (slot != EVS_NO_DATABASE)
		{
			evs_generation_advance(slot);
			evs_wakeup_ring_manager(slot);
		}
	}
	holding = false;
	extensions_created = NIL;
	extension_dropped = false;
}

/* Whoever commits a prepared transaction does not know what it changed. */
static void
lifecycle_before_prepare(void)
{
	if (extension_dropped ||
		list_member_oid(extensions_created, get_extension_oid(EVS_EXTENSION, true)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has created or dropped extension %s", EVS_EXTENSION)));
}

const EvsXactSubscriber evs_lifecycle_xact = {
	.before_prepare = lifecycle_before_prepare,
	.finished = lifecycle_finished,
};

/* The extension is being created or dropped in this database. */
void
evs_lifecycle_note_object(ObjectAccessType access, Oid class, Oid object)
{
	if (class != ExtensionRelationId || !evs_shmem_ready())
		return;
	if (access == OAT_POST_CREATE)
	{
		/* Its row, and so its name, is not visible yet; a probe for somebody else's costs little. */
		MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);

		extensions_created = lappend_oid(extensions_created, object);
		MemoryContextSwitchTo(caller);
	}
	else if (access == OAT_DROP)
	{
		const char *name = get_extension_name(object);

		if (name && strcmp(name, EVS_EXTENSION) == 0)
			extension_dropped = true;
	}
}

/* Value of a string option of CREATE or ALTER DATABASE, NULL if it is not given. */
static char *
string_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg)
			return defGetString(option);
	}
	return NULL;
}

/* Is this database a template that anybody may copy? */
static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		answer;

	if (!HeapTupleIsValid(tuple))
		return false;
	answer = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return answer;
}

/* May the current role create databases? */
static bool
may_create_databases(void)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		answer;

	if (!HeapTupleIsValid(tuple))
		return false;
	answer = superuser() || ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return answer;
}

/* The database that a statement needs empty, NULL if it needs none. */
static const char *
database_needed_empty(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) statement)->subname : NULL;
		case T_AlterDatabaseStmt:
			return string_option(((AlterDatabaseStmt *) statement)->options, "tablespace") ?
				((AlterDatabaseStmt *) statement)->dbname : NULL;
		case T_CreatedbStmt:
			{
				const char *template = string_option(((CreatedbStmt *) statement)->options, "template");

				return template ? template : "template1";
			}
		default:
			return NULL;
	}
}

/* A utility statement is about to run. */
void
evs_lifecycle_before_utility(Node *statement)
{
	const char *name = database_needed_empty(statement);
	Oid			database;

	if (name == NULL || !evs_shmem_ready())
		return;
	database = get_database_oid(name, true);
	if (!OidIsValid(database) || (database == MyDatabaseId && !IsA(statement, CreatedbStmt)))
	{
		/* Nothing of ours runs there; but a copy may bring the extension along. */
		holding = holding || IsA(statement, CreatedbStmt);
		return;
	}

	/* Whoever may not run the command shall not stop our processes with it. */
	if (EVS_OWNS_DATABASE(database, GetUserId()) ||
		(IsA(statement, CreatedbStmt) && is_template(database) && may_create_databases()))
		hold(database);
}
