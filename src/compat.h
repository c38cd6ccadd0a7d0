/*
 * compat.h
 *		What changed in PostgreSQL's C interface from 15 to 18.
 *
 * The only file that names PG_VERSION_NUM. Each item says which major
 * version changed it.
 */
#ifndef EVSTORE_COMPAT_H
#define EVSTORE_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "evstore needs PostgreSQL 15 or later"
#endif

/* The major version of the server that this is built for. */
#define EVS_SERVER_MAJOR	(PG_VERSION_NUM / 10000)

/* 17: a backend's index in the array of processes has a name of its own. */
#if PG_VERSION_NUM >= 170000
#define EVS_MY_PROC_NUMBER()	MyProcNumber
#else
#define EVS_MY_PROC_NUMBER()	(MyProc->pgprocno)
#endif

/* 16: ownership and privilege checks take the catalog's oid. */
#if PG_VERSION_NUM >= 160000
#define EVS_OWNS_TABLE(relid, role)		object_ownercheck(RelationRelationId, (relid), (role))
#define EVS_OWNS_DATABASE(dbid, role)	object_ownercheck(DatabaseRelationId, (dbid), (role))
#define EVS_SCHEMA_ACLCHECK(nsp, role, mode)	object_aclcheck(NamespaceRelationId, (nsp), (role), (mode))
#define EVS_FUNCTION_ACLCHECK(function, role, mode)	object_aclcheck(ProcedureRelationId, (function), (role), (mode))
#define EVS_TYPE_ACLCHECK(type, role, mode)	object_aclcheck(TypeRelationId, (type), (role), (mode))
#else
#define EVS_OWNS_TABLE(relid, role)		pg_class_ownercheck((relid), (role))
#define EVS_OWNS_DATABASE(dbid, role)	pg_database_ownercheck((dbid), (role))
#define EVS_SCHEMA_ACLCHECK(nsp, role, mode)	pg_namespace_aclcheck((nsp), (role), (mode))
#define EVS_FUNCTION_ACLCHECK(function, role, mode)	pg_proc_aclcheck((function), (role), (mode))
#define EVS_TYPE_ACLCHECK(type, role, mode)	pg_type_aclcheck((type), (role), (mode))
#endif

/* 16: ExecInsertIndexTuples can be told to touch summarising indexes only. */
#if PG_VERSION_NUM >= 160000
#define EVS_INSERT_INDEX_TUPLES(rri, slot, estate) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, false, NULL, NIL, false)
#else
#define EVS_INSERT_INDEX_TUPLES(rri, slot, estate) \
	ExecInsertIndexTuples((rri), (slot), (estate), false, false, NULL, NIL)
#endif

/* 16: an update says which indexes it concerns; as before, none is false. */
#if PG_VERSION_NUM >= 160000
#define EVS_UPDATE_INDEXES	TU_UpdateIndexes
#else
#define EVS_UPDATE_INDEXES	bool
#endif

/* 18: an index scan takes its instrumentation. */
#if PG_VERSION_NUM >= 180000
#define EVS_INDEX_BEGINSCAN(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0)
#else
#define EVS_INDEX_BEGINSCAN(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), 0)
#endif

/* 16: permissions moved from the range table to a list of their own. */
#if PG_VERSION_NUM >= 160000
#define EVS_CHECK_PERMS_PARAMS \
	List *rangeTable, List *permInfos, bool ereport_on_violation
#define EVS_CHECK_PERMS_ARGS		rangeTable, permInfos, ereport_on_violation
#define EVS_CHECK_PERMS_LIST		permInfos
typedef struct RTEPermissionInfo EvsPermission;
#define EVS_NSITEM_PERMISSION(item)		((item)->p_perminfo)
#define EVS_CHECK_PERMISSIONS(state) \
	ExecCheckPermissions((state)->p_rtable, (state)->p_rteperminfos, true)
#else
#define EVS_CHECK_PERMS_PARAMS	List *rangeTable, bool ereport_on_violation
#define EVS_CHECK_PERMS_ARGS		rangeTable, ereport_on_violation
#define EVS_CHECK_PERMS_LIST		rangeTable
typedef struct RangeTblEntry EvsPermission;
#define EVS_NSITEM_PERMISSION(item)		((item)->p_rte)
#define EVS_CHECK_PERMISSIONS(state)	ExecCheckRTPerms((state)->p_rtable, true)
#endif

/* 17: an extension may name the events its processes wait for. */
#if PG_VERSION_NUM >= 170000
#define EVS_WAIT_EVENT(name)	WaitEventExtensionNew(name)
#else
#define EVS_WAIT_EVENT(name)	((uint32) PG_WAIT_EXTENSION)
#endif

/* 17: the expression of a generated column can be changed, and with it every row's value. */
#if PG_VERSION_NUM >= 170000
#define EVS_ALTER_REWRITES_COLUMN(subtype) \
	((subtype) == AT_AlterColumnType || (subtype) == AT_SetExpression)
#else
#define EVS_ALTER_REWRITES_COLUMN(subtype)	((subtype) == AT_AlterColumnType)
#endif

/* 18: the mark of a function that does not return stands before it. */
#if PG_VERSION_NUM >= 180000
#define EVS_NORETURN	pg_noreturn
#else
#define EVS_NORETURN	pg_attribute_noreturn()
#endif

/* 16: splitting a qualified name can report its errors softly. */
#if PG_VERSION_NUM >= 160000
#define EVS_QUALIFIED_NAME(string)	stringToQualifiedNameList((string), NULL)
#else
#define EVS_QUALIFIED_NAME(string)	stringToQualifiedNameList(string)
#endif

/* 16: a relation's permissions are kept apart from its entry in the range table. */
#if PG_VERSION_NUM >= 160000
#define EVS_REDIRECT_PERMISSIONS(query, from, to) \
	do { \
		ListCell   *permission_; \
		foreach(permission_, (query)->rteperminfos) \
			if (lfirst_node(RTEPermissionInfo, permission_)->relid == (from)) \
				lfirst_node(RTEPermissionInfo, permission_)->relid = (to); \
	} while (0)
#else
#define EVS_REDIRECT_PERMISSIONS(query, from, to)	((void) 0)
#endif

/* 16: a type's name can be read with soft errors, and who does not want them says so otherwise. */
#if PG_VERSION_NUM >= 160000
#define EVS_HARD_ERRORS		NULL
#else
#define EVS_HARD_ERRORS		false
#endif

/*
 * 17: who holds a lock is told by one field. A prepared transaction that was
 * recovered has its xid in place of a local transaction's number, and no
 * process; every other holder gives InvalidTransactionId here.
 */
#if PG_VERSION_NUM >= 170000
#define EVS_LOCK_RECOVERED_XID(lock) \
	((lock)->pid == 0 && (lock)->vxid.procNumber == INVALID_PROC_NUMBER ? \
	 (TransactionId) (lock)->vxid.localTransactionId : InvalidTransactionId)
#else
#define EVS_LOCK_RECOVERED_XID(lock) \
	((lock)->pid == 0 && (lock)->backend == InvalidBackendId ? \
	 (TransactionId) (lock)->lxid : InvalidTransactionId)
#endif

/* 18: a query is never run a second time, and need not say so. */
#if PG_VERSION_NUM >= 180000
#define EVS_EXECUTOR_RUN(query)	ExecutorRun((query), ForwardScanDirection, 0)
#else
#define EVS_EXECUTOR_RUN(query)	ExecutorRun((query), ForwardScanDirection, 0, true)
#endif

/* 18: keys of GROUP BY stand in a query as columns of a range table entry of their own. */
#if PG_VERSION_NUM >= 180000
#define EVS_FLATTEN_GROUPS(query) \
	do { \
		if ((query)->hasGroupRTE) \
		{ \
			(query)->targetList = (List *) flatten_group_exprs(NULL, (query), (Node *) (query)->targetList); \
			(query)->havingQual = flatten_group_exprs(NULL, (query), (query)->havingQual); \
		} \
	} while (0)
#else
#define EVS_FLATTEN_GROUPS(query)	((void) 0)
#endif

/* 18: what prints a plan has headers of its own. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

/* 16: JSON_ARRAYAGG and JSON_OBJECTAGG are nodes around an aggregate, which must stay inside. */
#if PG_VERSION_NUM >= 160000
#define EVS_IS_JSON_AGGREGATE(node) \
	(IsA((node), JsonConstructorExpr) && \
	 (((JsonConstructorExpr *) (node))->type == JSCTOR_JSON_OBJECTAGG || \
	  ((JsonConstructorExpr *) (node))->type == JSCTOR_JSON_ARRAYAGG))
#else
#define EVS_IS_JSON_AGGREGATE(node)	false
#endif

/* 18: the hook around a query's run has lost the same. */
#if PG_VERSION_NUM >= 180000
#define EVS_EXECUTOR_RUN_PARAMS	QueryDesc *query, ScanDirection direction, uint64 count
#define EVS_EXECUTOR_RUN_ARGS	query, direction, count
#else
#define EVS_EXECUTOR_RUN_PARAMS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define EVS_EXECUTOR_RUN_ARGS	query, direction, count, execute_once
#endif

#endif							/* EVSTORE_COMPAT_H */
