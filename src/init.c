/*
 * init.c
 *		_PG_init: what is wired to what, and nothing else.
 */
#include "evstore.h"

#include "base/catalog.h"
#include "base/counters.h"
#include "base/database.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/wakeup.h"
#include "base/xact.h"
#include "domain/definition.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "project/generation.h"
#include "project/inline.h"
#include "project/mode.h"
#include "project/progress.h"
#include "project/projection.h"
#include "project/seal.h"
#include "server/hooks.h"
#include "store/alter.h"
#include "store/cause.h"
#include "store/door.h"
#include "store/guard.h"
#include "store/insert.h"
#include "store/position.h"
#include "store/prepared.h"
#include "store/restore.h"
#include "store/stripe.h"
#include "store/table.h"
#include "work/launcher.h"
#include "work/lifecycle.h"
#include "work/process.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/* Areas of shared memory, the lower floors first. */
static const EvsShmemPart *const shmem_parts[] = {
	&evs_database_shmem,
	&evs_counters_shmem,
	&evs_wakeup_shmem,
	&evs_position_shmem,
	&evs_prepared_shmem,
	&evs_generation_shmem,
	&evs_progress_shmem,
	&evs_process_shmem,
	&evs_lifecycle_shmem,
};

/* Who hears of a transaction's end, and in which order: positions are freed first. */
static const EvsXactSubscriber *const xact_subscribers[] = {
	&evs_position_xact,
	&evs_restore_xact,
	&evs_stripe_xact,
	&evs_table_xact,
	&evs_cause_xact,
	&evs_definition_xact,
	&evs_insert_xact,
	&evs_guard_xact,
	&evs_alter_xact,
	&evs_door_xact,
	&evs_inline_xact,
	&evs_mode_xact,
	&evs_seal_xact,
	&evs_projection_xact,
	&evs_lifecycle_xact,
};

/*
 * Loaded with shared_preload_libraries, everything works. Loaded later, by a
 * trigger or a function of a server that does not preload it, the guard works
 * and what needs shared memory refuses; this function itself never fails,
 * because pg_upgrade loads the library too.
 */
void
_PG_init(void)
{
	evs_settings_define();
	evs_catalog_install();
	evs_table_install();
	evs_definition_install();
	evs_xact_install(xact_subscribers, lengthof(xact_subscribers));
	/* pg_upgrade makes tables, triggers and this extension piece by piece. */
	if (!IsBinaryUpgrade)
		evs_hooks_install();

	if (process_shared_preload_libraries_in_progress)
	{
		evs_shmem_install(shmem_parts, lengthof(shmem_parts));
		evs_launcher_register();
	}
}
