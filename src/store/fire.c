/*
 * fire.c
 *		Firing the triggers of what append() inserts.
 *
 * One call of an append function is one statement to AFTER triggers, whichever
 * way its events go into the table, and however many there are: row triggers
 * are fired for each event when all are there, statement triggers once, with
 * all of them in the transition table. So no trigger ever sees half an append,
 * and events that a trigger appends come after the whole of it.
 *
 * Where the executor inserts, event by event, its triggers are told to wait for
 * the query that surrounds it, as foreign keys do with theirs. Where events go
 * straight into the heap, the rows are noted here as the executor would. An
 * error in between leaves the rest to the server, which forgets what was to be
 * fired when it rolls back.
 */
#include "evstore.h"

#include "executor/executor.h"
#include "store/fire.h"

/* Events will be inserted: have triggers wait. To be called again for more of the same append. */
void
evs_fire_begin(EvsFiring *firing, Relation rel)
{
	if (firing->estate)
		return;
	firing->estate = CreateExecutorState();
	firing->result = makeNode(ResultRelInfo);
	InitResultRelInfo(firing->result, rel, 0, NULL, 0);
	firing->estate->es_opened_result_relations = list_make1(firing->result);
	AfterTriggerBeginQuery();
}

/* An event was put straight into the heap. */
void
evs_fire_note(EvsFiring *firing, TupleTableSlot *slot)
{
	if (firing->estate == NULL)
		return;
	if (firing->capture == NULL)
		firing->capture = MakeTransitionCaptureState(firing->result->ri_TrigDesc,
													 RelationGetRelid(firing->result->ri_RelationDesc), CMD_INSERT);
	ExecARInsertTriggers(firing->estate, firing->result, slot, NIL, firing->capture);
}

/* All events are there: fire. */
void
evs_fire_end(EvsFiring *firing)
{
	EState	   *estate = firing->estate;

	if (estate == NULL)
		return;
	if (firing->capture)
		ExecASInsertTriggers(estate, firing->result, firing->capture);
	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
}
