/*
 * cause.h
 *		Why an event is appended: correlation and causation.
 */
#ifndef EVSTORE_CAUSE_H
#define EVSTORE_CAUSE_H

#include "base/xact.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* The event that a handler works on. */
typedef struct EvsCause
{
	EvsPosition position;		/* 0 if there is none */
	bool		has_id;
	pg_uuid_t	id;
	char	   *correlation;	/* NULL if it has none */
} EvsCause;

extern const EvsXactSubscriber evs_cause_xact;

extern bool evs_cause_is_known(void);
extern Jsonb *evs_cause_mark(Jsonb *metadata);
extern EvsCause evs_cause_set_aside(void);
extern void evs_cause_resume(EvsCause cause);

#endif							/* EVSTORE_CAUSE_H */
