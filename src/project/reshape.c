/*
 * reshape.c
 *		Giving what is stored of a query the columns and the key of another.
 *
 * The table is changed in place: columns that the new query does not have are
 * dropped, those that are new are added, and the key is replaced if it is
 * another, or if one of its columns is. A column that keeps its name and changes
 * its type, or the length or collation of it, is a new one. With another key no
 * row stays: what was several groups may be one now.
 * Nothing that depends on a column is dropped with it, but for indexes; that
 * this will not be in the way is checked when the query is replaced, and again
 * when the time has come.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "project/reshape.h"
#include "project/view.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

/* Names with commas between, as a list. */
static List *
split(const char *names)
{
	List	   *list;

	if (!SplitIdentifierString(pstrdup(names), ',', &list))
		elog(ERROR, "malformed list of columns \"%s\"", names);
	return list;
}

/* Is there no column in a key? */
static bool
has_no_keys(const char *keys)
{
	return keys[0] == '(';
}

/* The columns of a key, as a list. */
static List *
key_columns(const char *keys)
{
	return has_no_keys(keys) ? NIL : split(keys);
}

/* Is a name in a list? */
static bool
contains(const List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* Do two lists hold the same names, each once, in whatever order? */
static bool
are_same(const List *names, const List *others)
{
	ListCell   *cell;

	foreach(cell, others)
		if (!contains(names, lfirst(cell)))
			return false;
	return list_length(names) == list_length(others);
}

/* "COLLATE ..." of a column, if it is not that of its type. */
static char *
collate_clause(Form_pg_attribute attribute)
{
	HeapTuple	tuple;
	Form_pg_collation form;
	char	   *clause;

	if (!OidIsValid(attribute->attcollation) || attribute->attcollation == get_typcollation(attribute->atttypid))
		return "";
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(attribute->attcollation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", attribute->attcollation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	clause = psprintf(" COLLATE %s", quote_qualified_identifier(get_namespace_name(form->collnamespace),
																 NameStr(form->collname)));
	ReleaseSysCache(tuple);
	return clause;
}

/* A column as ADD COLUMN wants it. */
static char *
column_definition(Form_pg_attribute attribute)
{
	return psprintf("%s %s%s", quote_identifier(NameStr(attribute->attname)),
					format_type_extended(attribute->atttypid, attribute->atttypmod,
										 FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
					collate_clause(attribute));
}

/* Does the table's column of this number hold what one of the new query's view does? */
static bool
is_same(const EvsReshape *plan, AttrNumber number, Form_pg_attribute attribute)
{
	Oid			type;
	int32		modifier;
	Oid			collation;

	get_atttypetypmodcoll(plan->table, number, &type, &modifier, &collation);
	return type == attribute->atttypid && modifier == attribute->atttypmod && collation == attribute->attcollation;
}

/* Sort out the columns of the new query's view. With a column of it, a key goes as well. */
static void
plan_columns(EvsReshape *plan, const List *old_columns, Relation view)
{
	TupleDesc	desc = RelationGetDescr(view);
	List	   *keys = key_columns(plan->keys);
	List	   *kept = NIL;
	ListCell   *cell;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		char	   *name = NameStr(attribute->attname);
		AttrNumber	number = get_attnum(plan->table, name);

		if (number != InvalidAttrNumber && !contains(old_columns, name))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("the read table has a column \"%s\" of its own", name),
					 errhint("Name the query's column otherwise, or drop that one.")));
		if (number != InvalidAttrNumber && is_same(plan, number, attribute))
			kept = lappend(kept, name);
		else
		{
			plan->added = lappend(plan->added, column_definition(attribute));
			plan->new_key = plan->new_key || contains(keys, name);
			/* One that must not be null cannot be added to rows. */
			plan->emptied = plan->emptied || DomainHasConstraints(attribute->atttypid);
		}
	}
	foreach(cell, old_columns)
	{
		AttrNumber	number = get_attnum(plan->table, lfirst(cell));

		if (number != InvalidAttrNumber && !contains(kept, lfirst(cell)))
			plan->gone = lappend_int(plan->gone, number);
	}
}

/* The unique index over exactly these columns, in any order, if there is one; over none, the one that allows one row. */
static Oid
find_key(Oid relid, const List *columns)
{
	Oid			types[] = {OIDOID, TEXTARRAYOID};
	Datum	   *names = palloc_array(Datum, list_length(columns));
	Datum		values[2];
	ListCell   *cell;
	bool		isnull;

	foreach(cell, columns)
		names[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	values[0] = ObjectIdGetDatum(relid);
	values[1] = PointerGetDatum(construct_array(names, list_length(columns), TEXTOID, -1, false, TYPALIGN_INT));
	if (SPI_execute_with_args("SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisunique"
							  " AND i.indpred IS NULL AND NOT i.indisprimary"
							  " AND ARRAY(SELECT n FROM pg_catalog.unnest($2) n ORDER BY n COLLATE \"C\") = ARRAY(SELECT a.attname::text"
							  "  FROM pg_catalog.unnest(i.indkey::int2[]) k(attnum)"
							  "  JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = k.attnum ORDER BY a.attname COLLATE \"C\")"
							  " AND coalesce(pg_catalog.pg_get_expr(i.indexprs, $1), '') = CASE $2 WHEN '{}' THEN 'true' ELSE '' END"
							  " ORDER BY EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.conindid = i.indexrelid) DESC,"
							  "  i.indexrelid LIMIT 1",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for the key of a read table");
	if (SPI_processed == 0)
		return InvalidOid;
	return DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* What has to change for the replacement, whose view exists; NULL if nothing has. Call inside SPI. */
EvsReshape *
evs_reshape_plan(const EvsProjection *original, const EvsProjection *replacement)
{
	EvsReshape *plan = palloc0_object(EvsReshape);
	Relation	batch;

	/* It is not locked yet, as it is not known how. */
	if (get_rel_name(original->state_table) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the read table of projection \"%s\" does not exist", original->name)));
	plan->table = original->state_table;
	plan->keys = replacement->keys;
	plan->new_key = !are_same(key_columns(original->keys), key_columns(replacement->keys));
	batch = table_open(evs_view_find(replacement), AccessShareLock);
	plan_columns(plan, split(original->columns), batch);
	/* It is locked again in its turn, behind the tables: whoever gives up the rebuild has locked these. */
	table_close(batch, AccessShareLock);
	if (plan->new_key)
	{
		plan->old_key = find_key(plan->table, key_columns(original->keys));
		/* Rows of other groups are other rows, even where they look like those that come. */
		plan->emptied = true;
	}
	plan->view = evs_read_view_plan(original, replacement);
	return plan->gone != NIL || plan->added != NIL || plan->new_key || plan->view ? plan : NULL;
}

/* The table's name, qualified and quoted. */
static char *
full_name(const EvsReshape *plan)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(plan->table)), get_rel_name(plan->table));
}

/* What depends on an object so that it cannot go, apart from the view over it; NULL if nothing does. */
static char *
dependents(const EvsReshape *plan, Oid class, Oid object, int sub)
{
	Oid			types[] = {OIDOID, OIDOID, INT4OID, OIDOID};
	Datum		values[] = {
		ObjectIdGetDatum(class), ObjectIdGetDatum(object), Int32GetDatum(sub),
		ObjectIdGetDatum(plan->view && plan->view->was_view ? plan->view->read_table : InvalidOid),
	};

	if (SPI_execute_with_args("SELECT pg_catalog.string_agg(DISTINCT pg_catalog.pg_describe_object(classid, objid, objsubid), ', ')"
							  " FROM pg_catalog.pg_depend WHERE refclassid = $1 AND refobjid = $2 AND refobjsubid = $3 AND deptype = 'n'"
							  " AND NOT (classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
							  "  AND objid IN (SELECT oid FROM pg_catalog.pg_rewrite WHERE ev_class = $4))",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what depends on a read table");
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* The foreign keys that refer to rows of the table, which could go with them; NULL if there is none. */
static char *
referrers(const EvsReshape *plan)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(plan->table)};

	if (SPI_execute_with_args("SELECT pg_catalog.string_agg(pg_catalog.pg_describe_object("
							  "'pg_catalog.pg_constraint'::pg_catalog.regclass, oid, 0), ', ')"
							  " FROM pg_catalog.pg_constraint WHERE confrelid = $1",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what refers to a read table");
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* Refuse to let go what something depends on, and what the owner will not be able to do. Call inside SPI. */
void
evs_reshape_check(const EvsReshape *plan, Oid owner)
{
	ListCell   *cell;
	char	   *others;

	foreach(cell, plan->gone)
	{
		others = dependents(plan, RelationRelationId, plan->table, lfirst_int(cell));
		if (others)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot take column \"%s\" from read table %s because other objects depend on it",
							get_attname(plan->table, lfirst_int(cell), false), full_name(plan)),
					 errdetail("Dependent: %s.", others)));
	}
	others = OidIsValid(plan->old_key) ? dependents(plan, RelationRelationId, plan->old_key, 0) : NULL;
	if (others)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot take the key from read table %s because other objects depend on it", full_name(plan)),
				 errdetail("Dependent: %s.", others)));
	others = plan->emptied ? referrers(plan) : NULL;
	if (others)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot take all rows from read table %s because foreign keys refer to them", full_name(plan)),
				 errdetail("Dependent: %s.", others)));
	if (!EVS_OWNS_TABLE(plan->table, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of the projection must be owner of read table %s", full_name(plan))));
	if (plan->view)
		evs_read_view_check(plan->view, owner);
}

/* Run one statement. */
static void
execute(const char *sql)
{
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
}

/* Run a command on the table. */
static void
alter(const EvsReshape *plan, const char *change)
{
	execute(psprintf("ALTER TABLE %s %s", full_name(plan), change));
}

/* Let the key go that is not wanted any more: a constraint, or the index that allows one row. */
static void
drop_key(const EvsReshape *plan)
{
	Oid			constraint = get_index_constraint(plan->old_key);
	char	   *name = get_rel_name(plan->old_key);

	if (OidIsValid(constraint))
		alter(plan, psprintf("DROP CONSTRAINT %s", quote_identifier(get_constraint_name(constraint))));
	else if (name)
		execute(psprintf("DROP INDEX %s",
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(plan->old_key)), name)));
}

/* Let the columns and the key go that are not wanted any more, and add what is new, empty. As the owner, inside SPI. */
void
evs_reshape_columns(const EvsReshape *plan)
{
	ListCell   *cell;

	if (plan->view)
		evs_read_view_detach(plan->view);
	if (OidIsValid(plan->old_key))
		drop_key(plan);
	if (plan->emptied)
		execute(psprintf("DELETE FROM %s", full_name(plan)));
	foreach(cell, plan->gone)
		alter(plan, psprintf("DROP COLUMN %s", quote_identifier(get_attname(plan->table, lfirst_int(cell), false))));
	foreach(cell, plan->added)
		alter(plan, psprintf("ADD COLUMN %s", (char *) lfirst(cell)));
}

/*
 * Give the table its new key, now that its rows are right, and those who read it
 * what they are to see. Returns the read table. As the owner, inside SPI.
 */
Oid
evs_reshape_finish(const EvsReshape *plan)
{
	if (plan->new_key)
	{
		if (has_no_keys(plan->keys))
			execute(psprintf("CREATE UNIQUE INDEX ON %s (%s)", full_name(plan), plan->keys));
		else
			alter(plan, psprintf("ADD UNIQUE NULLS NOT DISTINCT (%s)", plan->keys));
	}
	return plan->view ? evs_read_view_attach(plan->view) : plan->table;
}
