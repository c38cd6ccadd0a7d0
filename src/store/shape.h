/*
 * shape.h
 *		What is declared of the shapes that events of a table have.
 */
#ifndef EVSTORE_SHAPE_H
#define EVSTORE_SHAPE_H

#include "utils/array.h"
#include "utils/jsonb.h"

/* Shape of events of which nothing else is said. */
#define EVS_FIRST_SCHEMA_VERSION 1

/* One version of an event type; the first member of what is declared for it. */
typedef struct EvsShape
{
	text	   *type;
	int			version;
	int			id;				/* of the declaration, and of the view that keeps its function */
	Oid			owner;			/* whose code it is */
	ArrayType  *settings;		/* see owner.c */
	Oid			function;		/* known once it was asked for; InvalidOid before */
} EvsShape;

/* A row of evstore._event_type: what data of this version must be. */
typedef struct EvsEventType
{
	EvsShape	shape;			/* its function says whether data are valid, and is asked for by conform.c */
	bool		is_checked;		/* else everything is valid */
	Oid			row_type;		/* in place of a function: the composite type that data must fit */
	Jsonb	   *json_schema;	/* first argument of the function, or NULL */
} EvsEventType;

/* A row of evstore._upcaster: what makes the next version of this one. */
typedef struct EvsUpcaster
{
	EvsShape	shape;			/* its function is asked for by upcast.c */
	bool		takes_event;	/* and returns events; else data for data */
	bool		returns_set;
} EvsUpcaster;

/* All of a table, each list by type, then version. */
typedef struct EvsShapes
{
	int			type_count;
	EvsEventType *types;
	int			upcaster_count;
	EvsUpcaster *upcasters;
	char	   *source;			/* view of the table's events in their newest shapes; NULL without upcasters */
} EvsShapes;

extern EvsShapes *evs_shapes_load(Oid event_table);
extern EvsEventType *evs_shapes_event_type(const EvsShapes *shapes, const text *type, int version);
extern EvsUpcaster *evs_shapes_upcaster(const EvsShapes *shapes, const text *type, int version);
extern int	evs_shapes_current(const EvsShapes *shapes, const text *type);
extern int	evs_shapes_newest(const EvsShapes *shapes, const text *type);
extern bool evs_shapes_know(const EvsShapes *shapes, const text *type);
extern bool evs_shapes_same_type(const EvsShape *shape, const text *type);
extern bool evs_shape_is_resolved(const EvsShape *shape);
extern void evs_shape_check_owner(const EvsShape *shape, const char *what);
extern char *evs_shape_name(const EvsShape *shape);

#endif							/* EVSTORE_SHAPE_H */
