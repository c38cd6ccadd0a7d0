/*
 * handler.h
 *		Turning the handler of a projection into the statement of a batch.
 */
#ifndef EVSTORE_HANDLER_H
#define EVSTORE_HANDLER_H

#include "utils/jsonb.h"

extern char *evs_handler_compile(const char *handler, Oid event_table);
extern char *evs_handlers_compile(Jsonb *handlers, Oid event_table);

#endif							/* EVSTORE_HANDLER_H */
