/*
 * failure.c
 *		Who is to blame for a batch that failed, and what is to be done.
 *
 * A policy may pass over an event for good. So an event is blamed only for what
 * an event can do: an error of a kind that comes from values, raised while the
 * events of the batch were being applied, again by that event alone, as often
 * as the projection's owner wants to see it, and not without the event. Whatever
 * may come from outside (rights, tables, locks, memory, a cancel request) is
 * tried again for ever.
 *
 * What looks like the fault of one event after another is not theirs, either: a
 * constraint that was added, a table of settings that was emptied. After
 * MOST_GIVEN_UP of them in a row, without a batch that was applied in between,
 * no more are given up.
 *
 * Call the functions that record inside SPI.
 */
#include "evstore.h"

#include "lib/stringinfo.h"
#include "project/batch.h"
#include "project/checkpoint.h"
#include "project/failure.h"
#include "project/park.h"
#include "project/timeout.h"

/* So many events in a row are given up, and no more. */
#define MOST_GIVEN_UP 10

/* Policies as the table calls them. */
static const char *const policy_names[] = {
	[EVS_STOP] = "stop",
	[EVS_SKIP] = "skip",
	[EVS_PARK] = "park",
};

/*
 * Whose fault errors are, by the SQLSTATE or its class; a code stands before its
 * class. What is not here is an event's: wrong values (21, 22), constraints (23,
 * 44), limits that a value exceeds (54), what a function finds wrong (20, 2F,
 * 38, P0), and classes that PostgreSQL does not know, as functions raise them.
 */
static const struct
{
	const char *code;
	EvsBlame	blame;
}			blames[] = {
	{"08", EVS_BLAME_NOBODY},	/* a connection, of a foreign table for instance */
	{"0A", EVS_BLAME_NOBODY},	/* what is not supported is so for all events */
	{"0L", EVS_BLAME_NOBODY},	/* roles, and who may grant */
	{"0P", EVS_BLAME_NOBODY},
	{"2200H", EVS_BLAME_NOBODY},	/* a sequence has come to its end */
	{"24", EVS_BLAME_NOBODY},	/* cursors, transactions, prepared statements: how code is written */
	{"25", EVS_BLAME_NOBODY},
	{"26", EVS_BLAME_NOBODY},
	{"27", EVS_BLAME_NOBODY},
	{"28", EVS_BLAME_NOBODY},	/* authorization */
	{"2B", EVS_BLAME_NOBODY},	/* objects that others depend on */
	{"2D", EVS_BLAME_NOBODY},
	{"34", EVS_BLAME_NOBODY},
	{"39", EVS_BLAME_NOBODY},	/* a function or trigger is not called as it must be */
	{"3B", EVS_BLAME_NOBODY},
	{"3D", EVS_BLAME_NOBODY},	/* no such database, no such schema */
	{"3F", EVS_BLAME_NOBODY},
	{"40", EVS_BLAME_NOBODY},	/* serialization, deadlock */
	{"42", EVS_BLAME_NOBODY},	/* tables and functions that are missing or renamed; rights */
	{"53", EVS_BLAME_SIZE},		/* memory, disk */
	{"55", EVS_BLAME_NOBODY},	/* locked, in use, not ready */
	{"57", EVS_BLAME_NOBODY},	/* cancelled, shutting down */
	{"58", EVS_BLAME_NOBODY},	/* files */
	{"72", EVS_BLAME_NOBODY},	/* the snapshot is too old */
	{"F0", EVS_BLAME_NOBODY},	/* the configuration file */
	{"HV", EVS_BLAME_NOBODY},	/* foreign data */
	{"VE001", EVS_BLAME_NOBODY},	/* a handler's append is to decide anew */
	{"VE004", EVS_BLAME_NOBODY},
	{"VE005", EVS_BLAME_NOBODY},	/* what is done is forbidden for any event */
	{"XX", EVS_BLAME_NOBODY},	/* corrupted data, and what cannot happen */
};

/* The policy of a name. */
EvsPolicy
evs_failure_policy(const char *name)
{
	for (int i = 0; i < lengthof(policy_names); i++)
		if (strcmp(policy_names[i], name) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("policy \"%s\" is not known", name),
			 errhint("on_error is \"stop\", \"skip\" or \"park\".")));
}

/* Who is to blame for the error that the last batch ended with. */
EvsBlame
evs_failure_blame(const ErrorData *error)
{
	const char *code = unpack_sql_state(error->sqlerrcode);

	/* Nothing was being applied yet, or nothing any more. */
	if (evs_batch_attempt().first == 0)
		return EVS_BLAME_NOBODY;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && evs_timeout_was_up())
		return EVS_BLAME_SIZE;
	for (int i = 0; i < lengthof(blames); i++)
		if (strncmp(code, blames[i].code, strlen(blames[i].code)) == 0)
			return blames[i].blame;
	return EVS_BLAME_EVENT;
}

/* What evstore.projections shows of an error. */
static StringInfo
describe(const ErrorData *error)
{
	StringInfo	text = makeStringInfo();

	appendStringInfo(text, "%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
	if (error->detail)
		appendStringInfo(text, "\nDETAIL: %s", error->detail);
	if (error->hint)
		appendStringInfo(text, "\nHINT: %s", error->hint);
	if (error->context)
		appendStringInfo(text, "\nCONTEXT: %s", error->context);
	return text;
}

/* Stop a projection at an event, until somebody has it tried again. */
static EvsVerdict
stop(const EvsProjection *projection, const ErrorData *error, EvsPosition event)
{
	StringInfo	text = describe(error);

	appendStringInfoString(text, "\nHINT: Mend the cause, then call evstore.retry_projection().");
	evs_checkpoint_stop(projection->id, text->data);
	evs_projection_note_change();
	ereport(WARNING,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("projection \"%s\" stops at the event at position %lld", projection->name, (long long) event),
			 errhint("Mend the cause, then call evstore.retry_projection().")));
	return EVS_STOPPED;
}

/* Skip or park an event, unless too many were before it. */
static EvsVerdict
give_up(const EvsProjection *projection, EvsReach *reach, const ErrorData *error, EvsPosition event, int given_up)
{
	bool		parked;

	if (given_up >= MOST_GIVEN_UP)
	{
		ereport(WARNING,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("projection \"%s\" gives up no more events", projection->name),
				 errdetail("It has given up %d in a row, and fails on the one at position %lld, too.",
						   given_up, (long long) event),
				 errhint("If they are to blame all the same, call evstore.retry_projection().")));
		return EVS_RETRY;
	}
	if (evs_batch_is_shared(projection, event))
	{
		ereport(WARNING,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("projection \"%s\" does not give up the event at position %lld",
						projection->name, (long long) event),
				 errdetail("Several of its event tables have one there, and which of them is to blame is not known."),
				 errhint("Mend the cause. It is tried again.")));
		return EVS_RETRY;
	}
	if (!evs_park_give_up(projection, event, reach->checkpoint, error, &parked))
		return EVS_ELSEWHERE;
	reach->checkpoint = reach->position = event;
	reach->parked += parked ? 1 : 0;
	/* The next batch that is applied says so in the checkpoint's row. */
	reach->failing = true;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("projection \"%s\" has %s the event at position %lld",
					projection->name, parked ? "parked" : "skipped", (long long) event),
			 errhint("Look into evstore.skipped_events for what it failed with.")));
	return EVS_PASSED;
}

/*
 * Record that a claimed batch has failed, by the fault of one event or (0) of
 * none, and if that one has been tried often enough, do with it as the policy
 * says. *failures is how often so in a row; the claim's reach is brought up to
 * date if the event was passed.
 */
EvsVerdict
evs_failure_record(EvsClaim *claim, const ErrorData *error, EvsPosition event, int *failures)
{
	EvsProjection *projection = evs_projection_load(claim->projection);
	int			given_up;

	*failures = projection == NULL ? 0 :
		evs_checkpoint_fail(claim->projection, claim->reach.checkpoint, event, describe(error)->data, &given_up);
	if (*failures == 0)
		return EVS_ELSEWHERE;
	if (event == 0 || *failures <= projection->retries)
		return EVS_RETRY;
	if (projection->on_error == EVS_STOP)
		return stop(projection, error, event);
	return give_up(projection, &claim->reach, error, event, given_up);
}
