/*
 * hooks.c
 *		evstore's place in the server's hook chains.
 *
 * Chains only: whoever hooked before us is called first, and what is to be
 * done is done by the module whose concept it is.
 */
#include "evstore.h"

#include "base/confine.h"
#include "catalog/objectaccess.h"
#include "domain/dependent.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "project/fresh.h"
#include "project/followed.h"
#include "server/hooks.h"
#include "store/alter.h"
#include "store/copy.h"
#include "store/door.h"
#include "store/guard.h"
#include "store/prepared.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"
#include "work/lifecycle.h"

static ExecutorCheckPerms_hook_type prev_check_perms = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;
static ExecutorRun_hook_type prev_executor_run = NULL;
static object_access_hook_type prev_object_access = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

/* A projection that is computed anew writes nothing but its own tables. */
static void
check_confined(List *permissions)
{
	ListCell   *cell;

	foreach(cell, permissions)
	{
		EvsPermission *permission = lfirst(cell);

		if ((permission->requiredPerms & (ACL_INSERT | ACL_DELETE)) != 0 ||
			((permission->requiredPerms & ACL_UPDATE) != 0 && !bms_is_empty(permission->updatedCols)))
			evs_confine_check(permission->relid);
	}
}

/* Before a statement may touch its tables. */
static bool
on_check_perms(EVS_CHECK_PERMS_PARAMS)
{
	if (prev_check_perms && !prev_check_perms(EVS_CHECK_PERMS_ARGS))
		return false;
	check_confined(EVS_CHECK_PERMS_LIST);
	evs_guard_check_dml(EVS_CHECK_PERMS_LIST);
	return true;
}

/* When the execution of a planned statement begins. */
static void
on_executor_start(QueryDesc *query, int eflags)
{
	bool		entered;

	evs_fresh_prepare(query, eflags);
	entered = evs_fresh_enter(query);
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if (entered)
		PopActiveSnapshot();
}

/* While it runs, or a part of it. */
static void
on_executor_run(EVS_EXECUTOR_RUN_PARAMS)
{
	bool		entered = evs_fresh_enter(query);

	if (prev_executor_run)
		prev_executor_run(EVS_EXECUTOR_RUN_ARGS);
	else
		standard_ExecutorRun(EVS_EXECUTOR_RUN_ARGS);
	if (entered)
		PopActiveSnapshot();
}

/* When an object is created, altered, dropped or truncated. */
static void
on_object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);
	if (access == OAT_TRUNCATE)
		evs_confine_check(objectId);
	evs_guard_check_object(access, classId, objectId, subId, arg);
	evs_dependent_check_object(access, classId, objectId, subId, arg);
	evs_followed_check_object(access, classId, objectId, subId);
	evs_lifecycle_note_object(access, classId, objectId);
}

/* Around every statement that is not planned. */
static void
on_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	evs_alter_check_utility(pstmt->utilityStmt);
	evs_dependent_check_utility(pstmt->utilityStmt);
	evs_followed_check_utility(pstmt->utilityStmt);
	evs_lifecycle_before_utility(pstmt->utilityStmt);

	/* COPY is ours where nobody else would be passed over. */
	if (prev_process_utility)
		prev_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else if (!evs_copy_from(pstmt, queryString, queryEnv, qc))
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);

	evs_alter_check_touched();
	evs_door_write_log();
	evs_prepared_after_utility(pstmt->utilityStmt);
}

/* Enter the chains; called once, from _PG_init. */
void
evs_hooks_install(void)
{
	prev_check_perms = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = on_check_perms;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = on_executor_start;
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = on_executor_run;
	prev_object_access = object_access_hook;
	object_access_hook = on_object_access;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = on_process_utility;
}
