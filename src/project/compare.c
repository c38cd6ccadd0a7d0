/*
 * compare.c
 *		Comparing a table with what it should hold.
 *
 * Two sides, what is expected and what is there, meet in one full join, by the
 * table's key. NULL is a key like any other, so the join is by a hash of the
 * key, which any join can use, and the key itself. Rows of a table without a
 * key meet by all they hold, numbered, in the order of their places, where
 * several hold the same.
 *
 * Columns that a sequence fills are not compared: their values tell in which
 * order rows came, attempts that were rolled back included.
 *
 * What stands here is SQL that is to run under the safe search_path: every name
 * and operator in it is qualified. The columns that it adds have names with a
 * blank in them, which no column of a user's should have.
 */
#include "evstore.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "project/compare.h"
#include "project/view.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include <math.h>

/* How far two float8, or two float4, that were summed up in another order may lie apart. */
#define NEAR_FLOAT8 "1e-9"
#define NEAR_FLOAT4 "1e-4"

/* A column of a compared table. */
typedef struct EvsComparedColumn
{
	char	   *name;			/* quoted */
	Oid			type;
	bool		key;
	bool		written;		/* can be written: it is not generated */
} EvsComparedColumn;

/* Does an expression take a value from a sequence? */
static bool
takes_from_sequence(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, NextValueExpr) || (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == F_NEXTVAL))
		return true;
	return expression_tree_walker(node, takes_from_sequence, context);
}

/* Is this column filled from a sequence? */
static bool
is_numbered(Relation rel, const FormData_pg_attribute *attribute)
{
	TupleConstr *constraints = RelationGetDescr(rel)->constr;

	if (attribute->attidentity != '\0')
		return true;
	for (int i = 0; constraints && i < constraints->num_defval; i++)
		if (constraints->defval[i].adnum == attribute->attnum)
			return takes_from_sequence(stringToNode(constraints->defval[i].adbin), NULL);
	return false;
}

/* Add the columns of a relation that are compared. */
static void
add_columns(EvsCompared *table, Relation rel, bool all)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		EvsComparedColumn *column;

		if (attribute->attisdropped || (!all && is_numbered(rel, attribute)))
			continue;
		column = palloc0_object(EvsComparedColumn);
		column->name = pstrdup(quote_identifier(NameStr(attribute->attname)));
		column->type = attribute->atttypid;
		column->written = attribute->attgenerated == '\0';
		table->columns = lappend(table->columns, column);
	}
}

/* Mark a column as part of the key; false if it is not compared. */
static bool
mark_key(EvsCompared *table, const char *name)
{
	ListCell   *cell;

	foreach(cell, table->columns)
	{
		EvsComparedColumn *column = lfirst(cell);

		if (strcmp(column->name, name) == 0)
			return column->key = true;
	}
	return false;
}

/* The key of a query's read table, as its compilation has named it; no column is the key of one row. */
static void
mark_query_key(EvsCompared *table, const EvsProjection *projection)
{
	List	   *names;
	ListCell   *cell;

	table->keyed = true;
	if (projection->keys[0] == '\0' || projection->keys[0] == '(')
		return;
	if (!SplitIdentifierString(pstrdup(projection->keys), ',', &names))
		elog(ERROR, "malformed key \"%s\"", projection->keys);
	foreach(cell, names)
		if (!mark_key(table, quote_identifier(lfirst(cell))))
			elog(ERROR, "the key column \"%s\" is not among the columns", (char *) lfirst(cell));
}

/* The primary key of a table, if a sequence has no part in it. */
static void
mark_primary_key(EvsCompared *table, Relation rel)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	int			member = -1;
	ListCell   *cell;

	table->keyed = !bms_is_empty(key);
	while ((member = bms_next_member(key, member)) >= 0)
	{
		AttrNumber	number = member + FirstLowInvalidHeapAttributeNumber;
		const char *name = NameStr(TupleDescAttr(RelationGetDescr(rel), number - 1)->attname);

		table->keyed = mark_key(table, quote_identifier(name)) && table->keyed;
	}
	foreach(cell, table->columns)
		((EvsComparedColumn *) lfirst(cell))->key &= table->keyed;
}

/* What of a read table is compared: of a query's, the columns that its view has. */
EvsCompared *
evs_compare_describe(const EvsProjection *projection, Oid relid)
{
	EvsCompared *table = palloc0_object(EvsCompared);
	Relation	rel;

	table->relid = relid;
	table->name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	if (projection->kind == EVS_QUERY)
	{
		rel = table_open(evs_view_find(projection), AccessShareLock);
		add_columns(table, rel, true);
		mark_query_key(table, projection);
		table->shard = projection->shard;
		table->shards = projection->shards;
	}
	else
	{
		rel = table_open(relid, AccessShareLock);
		add_columns(table, rel, false);
		mark_primary_key(table, rel);
	}
	table_close(rel, NoLock);
	return table;
}

/* Strings for each column, of which "%s" in a format is its name; "keys" says which: 1 the key's, 0 others, -1 all. */
static char *
each(const EvsCompared *table, int keys, bool written, const char *format, const char *between)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	foreach(cell, table->columns)
	{
		EvsComparedColumn *column = lfirst(cell);

		if ((keys >= 0 && column->key != (keys == 1)) || (written && !column->written))
			continue;
		if (out.len > 0)
			appendStringInfoString(&out, between);
		for (const char *c = format; *c != '\0'; c++)
		{
			if (*c == '%')
				appendStringInfoString(&out, column->name);
			else
				appendStringInfoChar(&out, *c);
		}
	}
	return out.data;
}

/* The hash of a row's key, over those of its columns that can be hashed. */
static char *
key_hash(const EvsCompared *table)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	foreach(cell, table->columns)
	{
		EvsComparedColumn *column = lfirst(cell);

		if (column->key && OidIsValid(lookup_type_cache(column->type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc))
			appendStringInfo(&out, "%st.%s", out.len > 0 ? ", " : "", column->name);
	}
	return out.len > 0 ? psprintf("pg_catalog.hash_record_extended(ROW(%s), 0)", out.data) : "0::int8";
}

/* Which hashes belong to a sample. */
static char *
sample_condition(const char *hash, double sample)
{
	if (sample >= 1)
		return "";
	return psprintf(" WHERE (%s OPERATOR(pg_catalog.&) 1073741823) OPERATOR(pg_catalog.<) %lld", hash,
					(long long) ceil(sample * 1073741824.0));
}

/*
 * Which rows of a stored table are compared: those of a sample of the keys, and
 * of one shard, as evs_shard_divide() tells them apart.
 */
static char *
stored_condition(const EvsCompared *table, const char *hash, double sample)
{
	char	   *condition = sample_condition(hash, sample);
	char	   *keys = "0";
	ListCell   *cell;

	if (table->shards <= 1)
		return condition;
	foreach(cell, table->columns)
		if (((EvsComparedColumn *) lfirst(cell))->key)
			keys = psprintf("evstore._hash(%s, t.%s)", keys, ((EvsComparedColumn *) lfirst(cell))->name);
	return psprintf("%s%s evstore._in_shard(%s, %d, %d)", condition, condition[0] ? " AND" : " WHERE",
					keys, table->shard, table->shards);
}

/* One side of the comparison; "stored" if its rows have places in a table. */
static char *
side(const EvsCompared *table, const char *source, bool stored, double sample)
{
	const char *place = stored ? ", t.ctid AS \"evstore place\", t.tableoid AS \"evstore table\"" : "";
	const char *columns = each(table, -1, false, ", t.%", "");

	if (table->keyed)
	{
		char	   *hash = key_hash(table);

		return psprintf("(SELECT true AS \"evstore there\", %s AS \"evstore hash\"%s%s FROM %s t%s)",
						hash, place, columns, source,
						stored ? stored_condition(table, hash, sample) : sample_condition(hash, sample));
	}
	return psprintf("(SELECT true AS \"evstore there\", pg_catalog.jsonb_hash_extended(t.\"evstore row\", 0) AS \"evstore hash\","
					" pg_catalog.row_number() OVER (PARTITION BY t.\"evstore row\"%s) AS \"evstore number\", t.*"
					" FROM (SELECT (SELECT pg_catalog.to_jsonb(\"evstore item\") FROM (SELECT%s) \"evstore item\") AS \"evstore row\"%s%s FROM %s t) t%s)",
					stored ? " ORDER BY t.\"evstore place\"" : "", each(table, -1, false, " t.%", ","), place, columns, source,
					sample_condition("pg_catalog.jsonb_hash_extended(t.\"evstore row\", 0)", sample));
}

/* An operator by its name, as an expression wants it. */
static char *
qualified_operator(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)), NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

/* Do the values of a column on both sides differ? Sums of floats may a little, if "exactly" is false. */
static char *
column_differs(const EvsComparedColumn *column, bool exactly)
{
	TypeCacheEntry *type = lookup_type_cache(column->type, TYPECACHE_EQ_OPR);
	Oid			base = getBaseType(column->type);
	char	   *equal;

	if (!exactly && (base == FLOAT8OID || base == FLOAT4OID))
		equal = psprintf("evstore._nearly_equal(e.%s, a.%s, %s)", column->name, column->name,
						 base == FLOAT8OID ? NEAR_FLOAT8 : NEAR_FLOAT4);
	else if (OidIsValid(type->eq_opr))
		equal = psprintf("e.%s %s a.%s", column->name, qualified_operator(type->eq_opr), column->name);
	else
		equal = psprintf("e.%s::text OPERATOR(pg_catalog.=) a.%s::text", column->name, column->name);
	return psprintf("CASE pg_catalog.num_nulls(e.%s, a.%s) WHEN 0 THEN NOT (%s) WHEN 1 THEN true ELSE false END",
					column->name, column->name, equal);
}

/* Both sides, joined, and only where they differ. */
static char *
differing(const EvsCompared *table, const char *expected, double sample, bool exactly)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	appendStringInfo(&out, "%s e FULL JOIN %s a ON e.\"evstore hash\" OPERATOR(pg_catalog.=) a.\"evstore hash\"",
					 side(table, expected, false, sample), side(table, table->name, true, sample));
	if (!table->keyed)
		appendStringInfoString(&out, " AND e.\"evstore row\" OPERATOR(pg_catalog.=) a.\"evstore row\""
							   " AND e.\"evstore number\" OPERATOR(pg_catalog.=) a.\"evstore number\"");
	foreach(cell, table->columns)
		if (((EvsComparedColumn *) lfirst(cell))->key)
			appendStringInfo(&out, " AND NOT %s", column_differs(lfirst(cell), true));
	appendStringInfoString(&out, " WHERE e.\"evstore there\" IS NULL OR a.\"evstore there\" IS NULL");
	if (table->keyed)
		foreach(cell, table->columns)
			if (!((EvsComparedColumn *) lfirst(cell))->key)
				appendStringInfo(&out, " OR %s", column_differs(lfirst(cell), exactly));
	return out.data;
}

/* A query for the rows that differ: key, expected and actual, each as jsonb. The key tells the table, too, if asked to. */
char *
evs_compare_report(const EvsCompared *table, const char *expected, double sample, bool name_table)
{
	char	   *key = "NULL::jsonb";

	if (table->keyed)
		key = psprintf("(SELECT pg_catalog.to_jsonb(\"evstore item\") FROM (SELECT%s) \"evstore item\")",
					   each(table, 1, false, " CASE WHEN e.\"evstore there\" THEN e.% ELSE a.% END AS %", ","));
	if (name_table)
		key = psprintf("pg_catalog.jsonb_build_object(%s, %s)", quote_literal_cstr(table->name), key);
	return psprintf("SELECT %s, CASE WHEN e.\"evstore there\" THEN (SELECT pg_catalog.to_jsonb(\"evstore item\") FROM (SELECT%s) \"evstore item\") END,"
					" CASE WHEN a.\"evstore there\" THEN (SELECT pg_catalog.to_jsonb(\"evstore item\") FROM (SELECT%s) \"evstore item\") END FROM %s",
					key, each(table, -1, false, " e.%", ","), each(table, -1, false, " a.%", ","),
					differing(table, expected, sample, false));
}

/* A query for the same rows as evs_compare_merge() wants them. */
char *
evs_compare_differences(const EvsCompared *table, const char *expected)
{
	return psprintf("SELECT e.\"evstore there\", a.\"evstore place\", a.\"evstore table\"%s FROM %s",
					each(table, -1, true, ", e.%", ""), differing(table, expected, 1, true));
}

/* Statements that bring the table to what is expected, to be run in order over EVS_COMPARE_ROWS. */
List *
evs_compare_merge(const EvsCompared *table)
{
	const char *place = "l.ctid OPERATOR(pg_catalog.=) d.\"evstore place\" AND l.tableoid OPERATOR(pg_catalog.=) d.\"evstore table\"";
	List	   *statements;
	char	   *changes = each(table, 0, true, "% = d.%", ", ");

	statements = list_make1(psprintf("DELETE FROM %s l USING " EVS_COMPARE_ROWS " d WHERE %s AND d.\"evstore there\" IS NULL",
									 table->name, place));
	if (table->keyed && changes[0] != '\0')
		statements = lappend(statements,
							 psprintf("UPDATE %s l SET %s FROM " EVS_COMPARE_ROWS " d WHERE %s AND d.\"evstore there\"",
									  table->name, changes, place));
	return lappend(statements,
				   psprintf("INSERT INTO %s (%s) SELECT %s FROM " EVS_COMPARE_ROWS " d WHERE d.\"evstore place\" IS NULL",
							table->name, each(table, -1, true, "%", ", "), each(table, -1, true, "d.%", ", ")));
}

PG_FUNCTION_INFO_V1(evs_nearly_equal);

/* evstore._nearly_equal(a, b, tolerance) */
Datum
evs_nearly_equal(PG_FUNCTION_ARGS)
{
	double		a = PG_GETARG_FLOAT8(0);
	double		b = PG_GETARG_FLOAT8(1);

	if (isnan(a) || isnan(b))
		PG_RETURN_BOOL(isnan(a) && isnan(b));
	if (isinf(a) || isinf(b))
		PG_RETURN_BOOL(a == b);
	PG_RETURN_BOOL(fabs(a - b) <= PG_GETARG_FLOAT8(2) * fmax(fabs(a), fabs(b)));
}
