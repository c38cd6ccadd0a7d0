/*
 * catalog.c
 *		Oids of the extension's own objects in this database.
 *
 * Looked up once and kept until a schema or function of any name changes,
 * which is when the extension may have been dropped or created anew. The
 * invalidation callback only marks: it may run where no look-up is possible.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "base/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static EvsCatalog catalog;
static bool catalog_valid = false;
static uint64 changes = 0;		/* noticed so far */

/* A schema or a function changed. */
static void
on_catalog_change(Datum arg, int cacheid, uint32 hashvalue)
{
	catalog_valid = false;
	changes++;
}

/* Oid of a function without arguments in the extension's schema. */
static Oid
find_function(Oid schema, const char *name)
{
	oidvector  *no_arguments = buildoidvector(NULL, 0);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(name), PointerGetDatum(no_arguments),
						   ObjectIdGetDatum(schema));
}

/* Oid of a type in the extension's schema. */
static Oid
find_type(Oid schema, const char *name)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
						   CStringGetDatum(name), ObjectIdGetDatum(schema));
}

/* Look up the extension's objects; false where they are not, or not all of them. */
static bool
look_up(EvsCatalog *found)
{
	HeapTuple	tuple;

	found->schema = get_namespace_oid(EVS_EXTENSION, true);
	if (!OidIsValid(found->schema))
		return false;

	found->position_sequence = get_relname_relid("position_sequence", found->schema);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(found->position_sequence));
	if (!HeapTupleIsValid(tuple))
		return false;
	found->owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	found->event_type = find_type(found->schema, "event");
	found->new_event_type = find_type(found->schema, "new_event");
	found->insert_function = find_function(found->schema, "_insert");
	found->guard_function = find_function(found->schema, "_guard");
	/* What guards nothing may be missing: DROP SCHEMA ... CASCADE drops one after the other, and asks. */
	found->inline_function = find_function(found->schema, "_inline");
	found->batch_from_function = find_function(found->schema, "_batch_from");
	found->batch_to_function = find_function(found->schema, "_batch_to");
	found->shard_from_function = find_function(found->schema, "_shard_from");
	found->shard_to_function = find_function(found->schema, "_shard_to");
	found->shard_number_function = find_function(found->schema, "_shard_number");
	found->shard_count_function = find_function(found->schema, "_shard_count");
	return OidIsValid(found->event_type) && OidIsValid(found->new_event_type) &&
		OidIsValid(found->insert_function) && OidIsValid(found->guard_function);
}

/* The extension's objects, or NULL where it is not (or not yet wholly) created. */
const EvsCatalog *
evs_catalog_find(void)
{
	while (!catalog_valid)
	{
		EvsCatalog	found = {0};
		uint64		before = changes;
		bool		complete = look_up(&found);

		/* A change that is noticed during a look-up may concern what was found before it. */
		if (changes != before)
			continue;
		if (!complete)
			return NULL;
		catalog = found;
		catalog_valid = true;
	}
	return &catalog;
}

/* The extension's objects, in a place that only exists where they do. */
const EvsCatalog *
evs_catalog(void)
{
	const EvsCatalog *found = evs_catalog_find();

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" is not installed in this database", EVS_EXTENSION),
				 errhint("Run CREATE EXTENSION %s.", EVS_EXTENSION)));
	return found;
}

/*
 * The extension's objects, kept from being dropped until the transaction ends;
 * NULL where they are not. Waits for a DROP EXTENSION that is under way.
 */
const EvsCatalog *
evs_catalog_lock(void)
{
	for (;;)
	{
		Oid			extension = get_extension_oid(EVS_EXTENSION, true);

		if (!OidIsValid(extension))
			return NULL;
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
		/* It may have been dropped, and created anew, while we waited. */
		if (get_extension_oid(EVS_EXTENSION, true) == extension)
			return evs_catalog_find();
	}
}

/* Have changes noticed; called once, from _PG_init. */
void
evs_catalog_install(void)
{
	CacheRegisterSyscacheCallback(NAMESPACEOID, on_catalog_change, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, on_catalog_change, (Datum) 0);
}
