/*
 * shadow.c
 *		Tables that stand in for the read tables of a projection.
 *
 * What a statement or a handler did with all events up to some position can
 * only be found out by doing it again. So that it does it elsewhere, its read
 * tables have empty copies of the same names in a schema of their own, and that
 * schema comes first on the search_path while the projection is applied: names
 * without a schema mean the copies, also inside functions, whose plans the
 * server makes anew for another path. What is named otherwise is protected by
 * base/confine.c.
 *
 * A copy has its table's columns, defaults, constraints and indexes; it has no
 * triggers, no foreign keys, and sequences of its own. The schema is the
 * extension owner's, and goes with the extension; the copies are the
 * projection owner's.
 *
 * Whoever may make schemas can make one of any name, and whoever owns a schema
 * says what names mean for those who have it on their search_path. So what
 * another role has made is neither used nor dropped, whatever it is called.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "project/shadow.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Run one command. */
static void
execute(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

/* The same as the extension's owner. */
static void
execute_as_extension(const char *sql)
{
	EvsOwnerFrame frame;

	evs_owner_begin_extension(&frame);
	execute(sql);
	evs_owner_end(&frame);
}

/* Refuse to compute anew what nobody knows the tables of; from here on they stay. */
void
evs_shadow_require_tables(const EvsProjection *projection)
{
	ListCell   *cell;

	if (projection->read_tables == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("projection \"%s\" declares no read table", projection->name),
				 errdetail("Which tables it writes is known to its statement or handler alone."),
				 errhint("Declare them with evstore.create_projection(..., read_tables => ...).")));
	foreach(cell, projection->read_tables)
	{
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
		if (get_rel_name(lfirst_oid(cell)) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("a read table of projection \"%s\" does not exist", projection->name)));
	}
}

/*
 * A schema of ours by its name, InvalidOid if there is none. After a restore it
 * may be that of another superuser than the one who owns the extension now.
 */
Oid
evs_shadow_find(const char *schema)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(schema));
	Oid			oid = InvalidOid;
	Form_pg_namespace form;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	form = (Form_pg_namespace) GETSTRUCT(tuple);
	if (form->nspowner == evs_catalog()->owner || superuser_arg(form->nspowner))
		oid = form->oid;
	ReleaseSysCache(tuple);
	return oid;
}

/* Make a schema in which a role can make tables. It goes with the extension. */
Oid
evs_shadow_create_schema(const char *schema, Oid owner)
{
	ObjectAddress self;
	ObjectAddress extension;

	if (OidIsValid(get_namespace_oid(schema, true)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_SCHEMA),
				 errmsg("schema \"%s\" exists already", schema),
				 errdetail("Projections need a schema of this name, and do not use one that somebody else has made."),
				 errhint("Have its owner drop or rename it.")));
	execute_as_extension(psprintf("CREATE SCHEMA %s", schema));
	execute_as_extension(psprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s", schema,
								  quote_identifier(GetUserNameFromId(owner, false))));
	ObjectAddressSet(self, NamespaceRelationId, get_namespace_oid(schema, false));
	ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid(EVS_EXTENSION, false));
	recordDependencyOn(&self, &extension, DEPENDENCY_AUTO);
	return self.objectId;
}

/* All is made that is to be in a schema. */
void
evs_shadow_close_schema(const char *schema, Oid owner)
{
	execute_as_extension(psprintf("REVOKE CREATE ON SCHEMA %s FROM %s", schema,
								  quote_identifier(GetUserNameFromId(owner, false))));
}

/* Name of the copy of a table. */
char *
evs_shadow_table(const char *schema, Oid relid)
{
	return quote_qualified_identifier(schema, get_rel_name(relid));
}

/*
 * Lock the copies that a rebuild writes, in the same order whoever does it, and
 * before it writes any of them.
 */
void
evs_shadow_lock(const EvsProjection *rebuild, LOCKMODE mode)
{
	ListCell   *cell;

	foreach(cell, rebuild->read_tables)
	{
		char	   *name = get_rel_name(lfirst_oid(cell));
		Oid			copy = name && OidIsValid(rebuild->shadow) ? get_relname_relid(name, rebuild->shadow) : InvalidOid;

		if (OidIsValid(copy))
			LockRelationOid(copy, mode);
	}
}

/* The defaults of a table that take their values from sequences get sequences of their own. */
static void
part_sequences(const char *schema, const char *copy)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(copy)};
	uint64		count;
	SPITupleTable *rows;

	if (SPI_execute_with_args("SELECT a.attname, s.relname FROM pg_catalog.pg_attrdef d"
							  " JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
							  " JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass"
							  " AND p.objid = d.oid AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
							  " JOIN pg_catalog.pg_class s ON s.oid = p.refobjid AND s.relkind = 'S'"
							  " WHERE d.adrelid = $1::pg_catalog.regclass",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the defaults of %s", copy);
	count = SPI_processed;
	rows = SPI_tuptable;
	for (uint64 i = 0; i < count; i++)
	{
		char	   *sequence = quote_qualified_identifier(schema, SPI_getvalue(rows->vals[i], rows->tupdesc, 2));

		execute(psprintf("CREATE SEQUENCE IF NOT EXISTS %s", sequence));
		execute(psprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT pg_catalog.nextval(%s)", copy,
						 quote_identifier(SPI_getvalue(rows->vals[i], rows->tupdesc, 1)),
						 quote_literal_cstr(sequence)));
	}
}

/*
 * Make a schema with an empty copy of each read table of a statement or a
 * handler. Call inside SPI. Returns the oid of the schema.
 */
Oid
evs_shadow_create(const EvsProjection *projection, const char *schema)
{
	Oid			oid;
	ListCell   *cell;
	EvsOwnerFrame frame;

	evs_shadow_require_tables(projection);
	oid = evs_shadow_create_schema(schema, projection->owner);
	foreach(cell, projection->read_tables)
	{
		Oid			relid = lfirst_oid(cell);
		char	   *copy = evs_shadow_table(schema, relid);

		if (OidIsValid(get_relname_relid(get_rel_name(relid), oid)))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("two read tables of projection \"%s\" are named \"%s\"",
							projection->name, get_rel_name(relid)),
					 errdetail("Their copies would have to stand in one schema.")));
		evs_owner_begin(&frame, projection->owner, NULL);
		execute(psprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING COMMENTS)", copy,
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid))));
		part_sequences(schema, copy);
		evs_owner_end(&frame);
	}
	evs_shadow_close_schema(schema, projection->owner);
	return oid;
}

/* Drop a schema of ours with all that is in it, if it is there. */
void
evs_shadow_drop(const char *schema)
{
	ObjectAddress address;

	ObjectAddressSet(address, NamespaceRelationId, evs_shadow_find(schema));
	if (OidIsValid(address.objectId))
		performDeletion(&address, DROP_CASCADE, PERFORM_DELETION_QUIETLY);
}
