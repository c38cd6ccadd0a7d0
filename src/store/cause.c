/*
 * cause.c
 *		Why an event is appended: correlation and causation.
 *
 * The metadata of new events gets two keys, where it does not have them yet:
 * causation_id names the event that caused this one, correlation_id what all of
 * it belongs to. While a handler works on an event, that one is the cause, and
 * what it belongs to is handed on; else both come from settings. An event is
 * named by its id or, if it has none, by its position; one that belongs to
 * nothing begins something that bears its own name.
 */
#include "evstore.h"

#include "base/settings.h"
#include "fmgr.h"
#include "store/cause.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#define CORRELATION_KEY "correlation_id"
#define CAUSATION_KEY	"causation_id"

/* What it correlates with is allocated apart. */
static EvsCause handled;

/* Nobody works on an event any more. */
static void
forget(void)
{
	if (handled.correlation)
		pfree(handled.correlation);
	handled = (EvsCause) {0};
}

/*
 * Something else is done before the handler goes on: what it appends is applied
 * to an inline projection, for one. Returns what is to be resumed afterwards.
 */
EvsCause
evs_cause_set_aside(void)
{
	EvsCause	cause = handled;

	handled = (EvsCause) {0};
	return cause;
}

/* The handler goes on. */
void
evs_cause_resume(EvsCause cause)
{
	forget();
	handled = cause;
}

/* A transaction that failed left its handler in the midst. */
static void
cause_finished(bool committed)
{
	forget();
}

const EvsXactSubscriber evs_cause_xact = {.finished = cause_finished};

/* How an event is named. */
static char *
name_of(const EvsCause *cause)
{
	if (cause->has_id)
		return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&cause->id)));
	return psprintf("%lld", (long long) cause->position);
}

/* A setting's value, NULL if it is not set. */
static const char *
setting(const char *value)
{
	return value && *value ? value : NULL;
}

/* The text under a key of a JSON object, NULL if there is none. */
static char *
text_under(Jsonb *object, const char *key)
{
	JsonbValue	buffer;
	JsonbValue *found;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	found = getKeyJsonValueFromContainer(&object->root, key, strlen(key), &buffer);
	if (found == NULL || found->type != jbvString)
		return NULL;
	return pnstrdup(found->val.string.val, found->val.string.len);
}

/* Has a JSON object a key? */
static bool
has_key(Jsonb *object, const char *key)
{
	JsonbValue	buffer;

	return getKeyJsonValueFromContainer(&object->root, key, strlen(key), &buffer) != NULL;
}

/* Add a key to an object that is being built. */
static void
push(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	string = {.type = jbvString};

	string.val.string.val = (char *) key;
	string.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &string);
	string.val.string.val = (char *) value;
	string.val.string.len = strlen(value);
	(void) pushJsonbValue(state, WJB_VALUE, &string);
}

/* Metadata with what is missing of the two keys. Metadata that is no object has no room for them. */
static Jsonb *
complete(Jsonb *metadata, const char *correlation, const char *causation)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (metadata && !JB_ROOT_IS_OBJECT(metadata))
		return metadata;
	if (metadata && has_key(metadata, CORRELATION_KEY))
		correlation = NULL;
	if (metadata && has_key(metadata, CAUSATION_KEY))
		causation = NULL;
	if (correlation == NULL && causation == NULL)
		return metadata;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (metadata)
	{
		iterator = JsonbIteratorInit(&metadata->root);
		while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
			if (token == WJB_KEY || token == WJB_VALUE)
				(void) pushJsonbValue(&state, token, &value);
	}
	if (correlation)
		push(&state, CORRELATION_KEY, correlation);
	if (causation)
		push(&state, CAUSATION_KEY, causation);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Is there anything to say of why events are appended? */
bool
evs_cause_is_known(void)
{
	return handled.position != 0 || setting(evs_correlation_id) || setting(evs_causation_id);
}

/* The metadata that a new event is to have: as it was given, NULL if none was, and why it is appended. */
Jsonb *
evs_cause_mark(Jsonb *metadata)
{
	if (!evs_cause_is_known())
		return metadata;
	if (handled.position != 0)
	{
		char	   *name = name_of(&handled);

		return complete(metadata, handled.correlation ? handled.correlation : name, name);
	}
	return complete(metadata, setting(evs_correlation_id), setting(evs_causation_id));
}

PG_FUNCTION_INFO_V1(evs_handling);

/*
 * evstore._handling(event, position, id, metadata): the event, which a handler
 * will now work on. What names it comes beside it, and most handlers append
 * nothing: so neither is the event taken apart nor a name made for each.
 */
Datum
evs_handling(PG_FUNCTION_ARGS)
{
	char	   *correlation = NULL;

	forget();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (!PG_ARGISNULL(3))
		correlation = text_under(PG_GETARG_JSONB_P(3), CORRELATION_KEY);
	if (correlation)
		handled.correlation = MemoryContextStrdup(TopMemoryContext, correlation);
	handled.has_id = !PG_ARGISNULL(2);
	if (handled.has_id)
		handled.id = *PG_GETARG_UUID_P(2);
	handled.position = PG_GETARG_INT64(1);
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}
