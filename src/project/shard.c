/*
 * shard.c
 *		Which events belong to which shard of a projection.
 *
 * The shards of a projection are applied side by side, each with a checkpoint of
 * its own. Every event belongs to exactly one of them: an event of a handler or
 * a statement by the hash of its stream, and one of a query by the hash of the
 * keys that it is grouped by, so that a row of the read table is one shard's
 * alone. NULL is a key like any other, and events without a stream are one
 * stream here.
 *
 * What is declared gets one more condition, which asks the session for its
 * shard as the bounds are asked for (bounds.c):
 *
 *		evstore._in_shard(evstore._hash(0, key), evstore._shard_number(), evstore._shard_count())
 *
 * It is written once, whatever the number of shards; what applies the whole,
 * as a rebuild does, is the one shard of one. A projection that never had shards
 * has no such condition, and pays nothing.
 *
 * Hashes decide what a checkpoint stands for, so they must not change under it.
 * Those of a server are the same for ever; another one may have another byte
 * order, and another database another encoding. What the hashes were is kept
 * with the projection, and compared (evs_shard_check_hashes).
 */
#include "evstore.h"

#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "project/shard.h"
#include "store/event.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/typcache.h"

/* How a key is hashed; kept from one call of evs_hash() to the next. */
typedef struct KeyHash
{
	FmgrInfo	function;		/* of no function if the key is a literal without a type */
	Oid			collation;
} KeyHash;

PG_FUNCTION_INFO_V1(evs_hash);
PG_FUNCTION_INFO_V1(evs_in_shard);

/* Look up how the key is hashed. */
static KeyHash *
look_up_hash(FunctionCallInfo fcinfo)
{
	KeyHash    *hash = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(KeyHash));
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	Node	   *expression = fcinfo->flinfo->fn_expr;
	Oid			function;

	if (type == UNKNOWNOID)
		return hash;
	if (!OidIsValid(type) || !IsA(expression, FuncExpr))
		elog(ERROR, "evstore._hash() is not called as a function");
	function = lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc;
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s has no hashes", format_type_be(type))));
	fmgr_info_cxt(function, &hash->function, fcinfo->flinfo->fn_mcxt);
	hash->collation = exprCollation(lsecond(((FuncExpr *) expression)->args));
	return hash;
}

/* evstore._hash(hash, key) */
Datum
evs_hash(PG_FUNCTION_ARGS)
{
	KeyHash    *hash = fcinfo->flinfo->fn_extra;
	uint64		key = 0;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (hash == NULL)
		hash = fcinfo->flinfo->fn_extra = look_up_hash(fcinfo);
	if (!PG_ARGISNULL(1) && OidIsValid(hash->function.fn_oid))
		key = DatumGetUInt64(FunctionCall2Coll(&hash->function, hash->collation, PG_GETARG_DATUM(1), Int64GetDatum(0)));
	PG_RETURN_INT64((int64) hash_combine64((uint64) PG_GETARG_INT64(0), key));
}

/* evstore._in_shard(hash, shard, shards) */
Datum
evs_in_shard(PG_FUNCTION_ARGS)
{
	int32		shards = PG_GETARG_INT32(2);

	if (shards < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there must be at least one shard")));
	PG_RETURN_BOOL((uint64) PG_GETARG_INT64(0) % shards == PG_GETARG_INT32(1));
}

/* What tells the hashes of this database from those of another. */
int64
evs_shard_hashes(void)
{
	static const char sample[] = "evstore: by which hashes?";

	return (int64) hash_bytes_extended((const unsigned char *) sample, sizeof(sample) - 1, GetDatabaseEncoding());
}

/* Refuse to apply where events belong to other shards than they did. */
void
evs_shard_check_hashes(const EvsProjection *projection)
{
	if (projection->shards > 1 && projection->hashes != evs_shard_hashes())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the shards of projection \"%s\" were told apart by other hashes than this database has",
						projection->name),
				 errdetail("It comes from a server of another byte order, or from a database of another encoding."),
				 errhint("Have it built anew with evstore.rebuild_projection().")));
}

/* Refuse a query by whose key its rows cannot be divided. */
static void
check_key(const TargetEntry *entry)
{
	Oid			type = exprType((Node *) entry->expr);
	Oid			collation = exprCollation((Node *) entry->expr);

	if (type != UNKNOWNOID && !OidIsValid(lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot divide a query by its key \"%s\"", entry->resname),
				 errdetail("Its type, %s, has no hashes.", format_type_be(type)),
				 errhint("Group by a key of another type, or leave the projection to one worker with shards => 1.")));
	if (OidIsValid(collation) && !get_collation_isdeterministic(collation))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot divide a query by its key \"%s\"", entry->resname),
				 errdetail("Its collation is not deterministic: which values are equal may change with a library."),
				 errhint("Group by lower(key) or the like, or leave the projection to one worker with shards => 1.")));
}

/* The keys of a query, each an expression over its range table. */
static List *
query_keys(const Query *original)
{
	Query	   *query = copyObject((Query *) original);
	List	   *keys = NIL;
	ListCell   *cell;

	EVS_FLATTEN_GROUPS(query);
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);

		if (entry->ressortgroupref == 0)
			continue;
		check_key(entry);
		keys = lappend(keys, entry->expr);
	}
	if (keys == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot divide a query without keys"),
				 errdetail("All its events meet in one row."),
				 errhint("Group by a key and add up when you read, or leave the projection to one worker with shards => 1.")));
	return keys;
}

/* The stream of the event table that a query reads, or of the view in its place (source.c), as a list of keys. */
static List *
stream_keys(const Query *query)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (entry->rtekind == RTE_RELATION &&
			(evs_table_is_event_table(entry->relid) || get_rel_namespace(entry->relid) == evs_catalog()->schema))
			return list_make1(makeVar(foreach_current_index(cell) + 1, EVS_COLUMN_STREAM, TEXTOID, -1, C_COLLATION_OID, 0));
	}
	elog(ERROR, "the batch is not one of an event table");
}

/* A call of one of the extension's functions. */
static Expr *
call(const char *name, Oid result, List *args, int count, const Oid *types)
{
	Oid			function = LookupFuncName(list_make2(makeString(EVS_EXTENSION), makeString(pstrdup(name))),
										  count, types, false);

	return (Expr *) makeFuncExpr(function, result, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

/* The condition that an event belongs to the shard that is being applied. */
static Expr *
in_shard(List *keys)
{
	static const Oid hash_types[] = {INT8OID, ANYOID};
	static const Oid shard_types[] = {INT8OID, INT4OID, INT4OID};
	Expr	   *hash = (Expr *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(0), false, FLOAT8PASSBYVAL);
	ListCell   *cell;

	foreach(cell, keys)
		hash = call("_hash", INT8OID, list_make2(hash, lfirst(cell)), lengthof(hash_types), hash_types);
	return call("_in_shard", BOOLOID,
				list_make3(hash, call("_shard_number", INT4OID, NIL, 0, NULL), call("_shard_count", INT4OID, NIL, 0, NULL)),
				lengthof(shard_types), shard_types);
}

/* Does a tree call one of the functions that tell the bounds or the shard? In place of those of a whole batch, call a shard's. */
static bool
exchange_bounds(Node *node, void *context)
{
	const EvsCatalog *catalog = evs_catalog();

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, exchange_bounds, context, 0);
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *function = (FuncExpr *) node;

		if (function->funcid == catalog->batch_from_function)
			function->funcid = catalog->shard_from_function;
		else if (function->funcid == catalog->batch_to_function)
			function->funcid = catalog->shard_to_function;
		if (function->funcid == catalog->shard_from_function || function->funcid == catalog->shard_to_function ||
			function->funcid == catalog->shard_count_function)
			*(bool *) context = true;
		if (function->funcid == catalog->shard_count_function)
			return true;
	}
	return expression_tree_walker(node, exchange_bounds, context);
}

/*
 * Add the condition to those of a query. A key may be something that cannot be
 * computed of every event, as of those that another condition leaves out: so
 * that one is asked first.
 */
static void
add_condition(Query *query, Expr *condition)
{
	List	   *before = NIL;
	List	   *all = make_ands_implicit((Expr *) query->jointree->quals);
	ListCell   *cell;

	foreach(cell, all)
	{
		bool		is_bound = false;

		(void) exchange_bounds(lfirst(cell), &is_bound);
		if (!is_bound)
			before = lappend(before, copyObject(lfirst(cell)));
	}
	if (before != NIL)
	{
		CaseExpr   *guarded = makeNode(CaseExpr);
		CaseWhen   *when = makeNode(CaseWhen);

		when->expr = make_ands_explicit(before);
		when->result = condition;
		when->location = -1;
		guarded->casetype = BOOLOID;
		guarded->args = list_make1(when);
		guarded->defresult = (Expr *) makeBoolConst(false, false);
		guarded->location = -1;
		condition = (Expr *) guarded;
	}
	query->jointree->quals = (Node *) make_ands_explicit(lappend(all, condition));
}

/*
 * The query of a projection, the calls of a handler, or the batch view of a
 * statement, with one more condition: only what belongs to the shard. All names
 * in the text are qualified, and so they are in the result; it is read with the
 * caller's rights. What has the condition already stays as it is.
 */
char *
evs_shard_divide(const char *select, EvsProjectionKind kind)
{
	EvsOwnerFrame frame;
	Query	   *query;
	bool		has_bounds = false;
	char	   *text;

	evs_owner_begin(&frame, GetUserId(), NULL);
	query = parse_analyze_fixedparams(linitial_node(RawStmt, raw_parser(select, RAW_PARSE_DEFAULT)), select, NULL, 0, NULL);
	/* Stops where the condition is found. */
	if (!exchange_bounds((Node *) query, &has_bounds))
	{
		if (!has_bounds)
			elog(ERROR, "the text to be divided has no bounds");
		add_condition(query, in_shard(kind == EVS_QUERY ? query_keys(query) : stream_keys(query)));
	}
	text = pg_get_querydef(query, false);
	evs_owner_end(&frame);
	return text;
}
