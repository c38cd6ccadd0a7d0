/*
 * called.c
 *		Functions of users that are called for what they have declared.
 *
 * A declaration is a row that names a function. The function itself is kept in
 * a view that calls it and is never read: so the server follows its renames,
 * keeps it from being dropped, and dumps it.
 */
#include "evstore.h"

#include "access/table.h"
#include "base/called.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* A text argument that must not be null; "name" says which. */
char *
evs_called_text(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* Refuse whoever does not own the event table, and a table that is not there. */
void
evs_called_check_table_owner(Oid event_table)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(event_table)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", event_table)));
	if (!EVS_OWNS_TABLE(event_table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(event_table));
}

/* Refuse whoever has not the rights of a definition's owner. */
void
evs_called_check_owner(Oid owner, const char *what, const char *name)
{
	if (!superuser() && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of %s \"%s\"", what, name)));
}

/* Refuse a role that may not call a function. */
void
evs_called_check_may_call(Oid function, Oid role)
{
	if (EVS_FUNCTION_ACLCHECK(function, role, ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(function));
}

/*
 * The function of a kind and a name, of so many arguments of which one is of a
 * type; InvalidOid if there is none. Two of them are an error.
 */
Oid
evs_called_find_function(const char *name, int count, int argument, Oid type, char kind)
{
	FuncCandidateList candidate = FuncnameGetCandidates(EVS_QUALIFIED_NAME(name), count, NIL, false, false, false, true);
	Oid			found = InvalidOid;

	for (; candidate; candidate = candidate->next)
	{
		if (candidate->nargs != count || candidate->args[argument] != type ||
			get_func_prokind(candidate->oid) != kind)
			continue;
		if (OidIsValid(found))
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
					 errmsg("function name \"%s\" is not unique", name),
					 errhint("Give the types of its arguments as well, as in %s.", format_procedure(found))));
		found = candidate->oid;
	}
	return found;
}

/*
 * The function that a view of ours calls, or the aggregate, and the type of what
 * that returns; InvalidOid if the view names a type alone. It is an error if
 * somebody has dropped them with CASCADE.
 */
Oid
evs_called_in_view(const char *view, const char *what, bool *is_aggregate, Oid *type)
{
	Oid			relid = get_relname_relid(view, evs_catalog()->schema);
	Relation	rel;
	Node	   *call;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the function of %s was dropped", what),
				 errhint("Drop the definition as well, and create it again.")));
	rel = table_open(relid, AccessShareLock);
	call = (Node *) linitial_node(TargetEntry, get_view_query(rel)->targetList)->expr;
	*is_aggregate = IsA(call, Aggref);
	*type = exprType(call);
	table_close(rel, AccessShareLock);
	if (*is_aggregate)
		return ((Aggref *) call)->aggfnoid;
	return IsA(call, FuncExpr) ? ((FuncExpr *) call)->funcid : InvalidOid;
}

/* Drop a view of ours, which may have gone with the function that it calls. Call inside SPI. */
void
evs_called_drop_view(const char *view)
{
	if (OidIsValid(get_relname_relid(view, evs_catalog()->schema)))
		evs_owner_run_extension(psprintf("DROP VIEW evstore.%s", view), 0, NULL, NULL, NULL, SPI_OK_UTILITY);
}
