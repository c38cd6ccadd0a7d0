/*
 * definition.h
 *		What the declarations of aggregates and of commands have in common.
 */
#ifndef EVSTORE_DEFINITION_H
#define EVSTORE_DEFINITION_H

#include "base/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"

/* What aggregates and commands have in common; the first member of both. */
typedef struct EvsDefinition
{
	Oid			event_table;
	char	   *category;
	char	   *name;			/* NULL for an aggregate */
	int			id;
	Oid			owner;
	ArrayType  *settings;		/* see owner.c */
	SPIPlanPtr	plan;			/* kept with it, or NULL */
	List	   *row_types;		/* of Oid: rows that it deals in */
	uint64		row_version;	/* of their columns: evs_definition_row_version() */
	MemoryContext context;		/* holds what it is the first member of */
} EvsDefinition;

/* Read what "key" (event_table, category, name) names, into memory of the current context; NULL if there is none. */
typedef EvsDefinition *(*EvsDefinitionReader) (const EvsDefinition *key);

extern const EvsXactSubscriber evs_definition_xact;

extern void evs_definition_install(void);
extern EvsDefinition *evs_definition_open(Oid event_table, const text *stream, const char *name,
										  EvsDefinitionReader read);
extern void evs_definition_close(void);
extern uint64 evs_definition_row_version(Oid type);
extern char *evs_definition_category(FunctionCallInfo fcinfo, int argument);

#endif							/* EVSTORE_DEFINITION_H */
