/*
 * event.h
 *		Events on their way into a table.
 */
#ifndef EVSTORE_EVENT_H
#define EVSTORE_EVENT_H

#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* One event to append. What may be absent is NULL. */
typedef struct EvsEvent
{
	text	   *type;
	Jsonb	   *data;
	Jsonb	   *metadata;
	pg_uuid_t  *id;
	ArrayType  *tags;
	int			schema_version; /* of its data; 0, before it is appended: the one that is current for the type */
} EvsEvent;

extern void evs_event_check(const EvsEvent *event);
extern void evs_event_check_type(const text *type);
extern void evs_event_check_stream(const text *stream);
extern void evs_event_check_tags(ArrayType *tags);
extern int	evs_event_check_schema_version(int version);
extern ArrayType *evs_strings_from_json(const JsonbValue *value);
extern EvsEvent *evs_events_from_array(ArrayType *array, int *count);

#endif							/* EVSTORE_EVENT_H */
