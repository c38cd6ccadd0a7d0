/*
 * readview.c
 *		The view that is the read table of a query which computes.
 *
 * It is made when such a query is declared. When a query is replaced, what is
 * stored changes its shape (reshape.c), and the view over it has to be out of
 * the way meanwhile; and a read table may become a view, or be one no more.
 *
 * The new view is made at once, over the table that the rebuild fills: so it is
 * known then that it can be made, and what it uses cannot go. When the rebuild is
 * put in place, the view in use shows that one for a moment, inside the
 * transaction, and then the same over the stored table. Where its columns would
 * not be those that it has, and more behind them, the server cannot exchange what
 * a view shows. Then it is dropped, and made again with the same privileges,
 * comments and options; whatever depends on it is in the way of that, and is
 * refused when the query is replaced, and again when it comes to it.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "project/readview.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* A privilege or a comment, as the statement that gives it; of a column, or of the whole (NULL). */
typedef struct EvsProperty
{
	char	   *column;
	char	   *statement;
} EvsProperty;

/* Run one statement. */
static void
execute(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

/* Ask the catalogs about a relation, $1, of the name $2. */
static void
ask(const char *sql, Oid relid, const char *name)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(relid), CStringGetTextDatum(name)};

	if (SPI_execute_with_args(sql, lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what there is of %s", name);
}

/* Column of a row that SPI returned, as text; NULL if it is null. */
static char *
answer(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* The name of a relation, qualified and quoted. */
static char *
full_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Make the view over the table of what is stored. Returns it. Call inside SPI. */
Oid
evs_read_view_create(const EvsState *state, Oid table, Oid schema, const char *name)
{
	execute(psprintf("CREATE VIEW %s AS %s", quote_qualified_identifier(get_namespace_name(schema), name),
					 evs_state_view(state, table)));
	return get_relname_relid(name, schema);
}

/* Does a view have this column, under this name? */
static bool
has_column(TupleDesc desc, const FormData_pg_attribute *wanted)
{
	for (int i = 0; i < desc->natts; i++)
	{
		const FormData_pg_attribute *attribute = TupleDescAttr(desc, i);

		if (strcmp(NameStr(attribute->attname), NameStr(wanted->attname)) == 0)
			return attribute->atttypid == wanted->atttypid && attribute->atttypmod == wanted->atttypmod &&
				attribute->attcollation == wanted->attcollation;
	}
	return false;
}

/* Lay out the columns of the new view: if it has all of the old one's, behind those. */
static void
plan_columns(EvsReadView *view)
{
	Relation	old = table_open(view->read_table, AccessShareLock);
	Relation	built = table_open(view->built, AccessShareLock);
	TupleDesc	columns = RelationGetDescr(built);
	TupleDesc	before = RelationGetDescr(old);

	view->stays = view->was_view;
	for (int i = 0; i < before->natts && view->stays; i++)
		view->stays = has_column(columns, TupleDescAttr(before, i));
	for (int i = 0; i < before->natts && view->stays; i++)
		view->columns = lappend(view->columns, pstrdup(NameStr(TupleDescAttr(before, i)->attname)));
	for (int i = 0; i < columns->natts; i++)
		if (!view->stays || !has_column(before, TupleDescAttr(columns, i)))
			view->columns = lappend(view->columns, pstrdup(NameStr(TupleDescAttr(columns, i)->attname)));
	table_close(built, AccessShareLock);
	/* It is locked again in its turn, before the stored table. */
	table_close(old, AccessShareLock);
}

/* How the read table changes; NULL if it is no view and becomes none. Call inside SPI. */
EvsReadView *
evs_read_view_plan(const EvsProjection *original, const EvsProjection *replacement)
{
	EvsReadView *view = palloc0_object(EvsReadView);
	char	   *name = get_rel_name(original->read_table);

	view->was_view = original->read_table != original->state_table;
	if (replacement->read_table != replacement->state_table)
		view->built = replacement->read_table;
	if (!view->was_view && !OidIsValid(view->built))
		return NULL;
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the read table of projection \"%s\" does not exist", original->name)));
	view->read_table = original->read_table;
	view->state_table = original->state_table;
	view->schema = get_rel_namespace(original->read_table);
	view->relation = name;
	view->name = full_name(original->read_table);
	view->table_name = OidIsValid(view->built) && !view->was_view ? psprintf("%s_state", name) :
		get_rel_name(view->state_table);
	if (OidIsValid(view->built))
		plan_columns(view);
	return view;
}

/*
 * What would go with the read table, or would not know any more what it is
 * for, if it becomes another relation; NULL if there is nothing.
 */
static char *
dependents(const EvsReadView *view)
{
	char	   *others;

	/* What a view, or a table, has for itself is not in the way. */
	ask("SELECT pg_catalog.concat_ws(', ', CASE WHEN pg_catalog.bool_or(c.relrowsecurity) THEN 'its row-level security' END,"
		"  pg_catalog.string_agg(DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', '))"
		" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type t ON t.oid = c.reltype LEFT JOIN pg_catalog.pg_depend d"
		"  ON ((d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = c.oid)"
		"  OR (d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid IN (t.oid, t.typarray)))"
		" AND (d.deptype = 'n' OR (d.deptype = 'a' AND (c.relkind = 'v' OR d.classid IN"
		"  ('pg_catalog.pg_trigger'::pg_catalog.regclass, 'pg_catalog.pg_policy'::pg_catalog.regclass,"
		"   'pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_publication_rel'::pg_catalog.regclass))))"
		" AND NOT (d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND c.relkind = 'v' AND d.objid IN"
		"  (SELECT r.oid FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename = '_RETURN'))"
		" WHERE c.oid = $1", view->read_table, view->name);
	others = answer(0, 1);
	return others && others[0] != '\0' ? others : NULL;
}

/* Refuse what will not be possible when the time has come. Call inside SPI. */
void
evs_read_view_check(const EvsReadView *view, Oid owner)
{
	char	   *others = view->stays ? NULL : dependents(view);

	if (others)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot make read table %s anew because other objects depend on it", view->name),
				 errdetail("%s Dependent: %s.", !OidIsValid(view->built) ? "It is a view, and is to be a table." :
						   view->was_view ? "It is a view, and not all its columns are to stay." :
						   "It is a table, and is to be a view.", others)));
	if (EVS_SCHEMA_ACLCHECK(view->schema, owner, ACL_CREATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schema \"%s\"", get_namespace_name(view->schema)),
				 errdetail("The owner of the projection has to make a view there.")));
	if (!EVS_OWNS_TABLE(view->read_table, owner) || !EVS_OWNS_TABLE(view->state_table, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of the projection must be owner of read table %s", view->name)));
	if (view->was_view)
		return;
	if (strlen(view->table_name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("read table name \"%s\" is too long", view->relation),
				 errdetail("It will be a view over a table named \"%s\".", view->table_name)));
	if (OidIsValid(get_relname_relid(view->table_name, view->schema)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", view->table_name),
				 errdetail("Read table %s will be a view over a table of that name.", view->name)));
}

/* Note what the read table has that its successor of the same name is to have, too. */
static void
note_properties(EvsReadView *view)
{
	const char *kind = OidIsValid(view->built) ? "VIEW" : "TABLE";

	ask("SELECT pg_catalog.array_to_string(reloptions, ', ') FROM pg_catalog.pg_class"
		" WHERE oid = $1 AND relkind = 'v' AND reloptions IS NOT NULL", view->read_table, view->name);
	view->options = SPI_processed > 0 ? psprintf(" WITH (%s)", answer(0, 1)) : "";
	if (view->stays)
		return;
	ask(psprintf("SELECT NULL, pg_catalog.format('COMMENT ON %s %%s IS %%L', $2, pg_catalog.obj_description($1, 'pg_class'))"
				 " UNION ALL SELECT a.attname, pg_catalog.format('COMMENT ON COLUMN %%s.%%I IS %%L', $2, a.attname,"
				 "  pg_catalog.col_description($1, a.attnum)) FROM pg_catalog.pg_attribute a"
				 "  WHERE a.attrelid = $1 AND a.attnum > 0 AND pg_catalog.col_description($1, a.attnum) IS NOT NULL"
				 " UNION ALL SELECT g.attname, pg_catalog.format('GRANT %%s%%s ON %%s TO %%s%%s', g.privilege_type,"
				 "  '(' || pg_catalog.quote_ident(g.attname) || ')', $2,"
				 "  CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END,"
				 "  CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' END)"
				 "  FROM pg_catalog.pg_class c, LATERAL (SELECT NULL::name AS attname, x.* FROM pg_catalog.aclexplode(c.relacl) x"
				 "   UNION ALL SELECT a.attname, x.* FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) x"
				 "   WHERE a.attrelid = c.oid AND NOT a.attisdropped) g"
				 "  WHERE c.oid = $1 AND g.grantee <> c.relowner", kind), view->read_table, view->name);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		EvsProperty *property = palloc_object(EvsProperty);

		property->column = answer(i, 1);
		property->statement = answer(i, 2);
		view->properties = lappend(view->properties, property);
	}
}

/* Take from everybody else what they may do with a relation: its name is not theirs any more. */
static void
revoke_all(Oid relid)
{
	char	   *name = full_name(relid);
	char	   *roles;

	ask("SELECT pg_catalog.string_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC'"
		"  ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END, ', ')"
		" FROM pg_catalog.pg_class c, LATERAL (SELECT x.grantee FROM pg_catalog.aclexplode(c.relacl) x"
		"  UNION ALL SELECT x.grantee FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) x"
		"  WHERE a.attrelid = c.oid AND NOT a.attisdropped) g WHERE c.oid = $1 AND g.grantee <> c.relowner", relid, name);
	roles = answer(0, 1);
	if (roles)
		execute(psprintf("REVOKE ALL ON %s FROM %s CASCADE", name, roles));
}

/* Give a relation what was noted of its predecessor; what a column had that is gone is gone. */
static void
give_properties(const EvsReadView *view, Oid relid)
{
	ListCell   *cell;

	revoke_all(relid);
	foreach(cell, view->properties)
	{
		const EvsProperty *property = lfirst(cell);

		if (property->column == NULL || get_attnum(relid, property->column) != InvalidAttrNumber)
			execute(property->statement);
	}
}

/* The columns of the new view, with commas between. */
static char *
column_list(const EvsReadView *view)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	foreach(cell, view->columns)
		appendStringInfo(&out, "%s%s", out.len > 0 ? ", " : "", quote_identifier(lfirst(cell)));
	return out.data;
}

/* Part the read table from what is stored, which is about to change its shape. As the owner, inside SPI. */
void
evs_read_view_detach(EvsReadView *view)
{
	note_properties(view);
	if (view->stays)
		execute(psprintf("CREATE OR REPLACE VIEW %s%s AS SELECT %s FROM %s", view->name, view->options,
						 column_list(view), full_name(view->built)));
	else if (view->was_view)
		execute(psprintf("DROP VIEW %s", view->name));
}

/* Give the stored table another name. */
static void
rename_table(const EvsReadView *view, const char *name)
{
	execute(psprintf("ALTER TABLE %s RENAME TO %s", full_name(view->state_table), quote_identifier(name)));
}

/* The stored table takes the place of the view, which is gone. */
static void
become_table(const EvsReadView *view)
{
	if (get_rel_namespace(view->state_table) != view->schema)
		execute(psprintf("ALTER TABLE %s SET SCHEMA %s", full_name(view->state_table),
						 quote_identifier(get_namespace_name(view->schema))));
	rename_table(view, view->relation);
	give_properties(view, view->state_table);
}

/*
 * Make the read table what it is to be, over what is stored, which has its new
 * shape. As the owner, inside SPI. Returns it.
 */
Oid
evs_read_view_attach(const EvsReadView *view)
{
	Oid			read_table;

	if (!OidIsValid(view->built))
	{
		become_table(view);
		return view->state_table;
	}
	if (!view->was_view)
	{
		rename_table(view, view->table_name);
		revoke_all(view->state_table);
	}
	execute(psprintf("CREATE OR REPLACE VIEW %s%s AS %s", view->name, view->options,
					 evs_state_view_over(view->built, view->state_table, view->columns)));
	read_table = get_relname_relid(view->relation, view->schema);
	if (!view->stays)
		give_properties(view, read_table);
	return read_table;
}
