/*
 * command.h
 *		What decides.
 */
#ifndef EVSTORE_COMMAND_H
#define EVSTORE_COMMAND_H

#include "domain/fold.h"
#include "store/event.h"
#include "utils/jsonb.h"

/* A row of evstore._command, and what follows from it. */
typedef struct EvsCommand
{
	EvsDefinition definition;
	Oid			decide;			/* function (state, jsonb) that returns a set of evstore.new_event */
	Oid			state_type;		/* that it takes */
} EvsCommand;

extern const EvsCommand *evs_command_open(Oid event_table, const text *stream, const char *name);
extern EvsEvent *evs_command_decide(const EvsCommand *command, const EvsState *state, Jsonb *args, int *count);

#endif							/* EVSTORE_COMMAND_H */
