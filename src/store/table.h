/*
 * table.h
 *		What this backend knows of an event table.
 */
#ifndef EVSTORE_TABLE_H
#define EVSTORE_TABLE_H

#include "base/xact.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "store/shape.h"
#include "utils/rel.h"

/* Columns of an event table, by number: create_event_table() lays them out so. */
enum
{
	EVS_COLUMN_POSITION = 1,
	EVS_COLUMN_VERSION,
	EVS_COLUMN_RECORDED_AT,
	EVS_COLUMN_SCHEMA_VERSION,
	EVS_COLUMN_ID,
	EVS_COLUMN_STREAM,
	EVS_COLUMN_TYPE,
	EVS_COLUMN_DATA,
	EVS_COLUMN_METADATA,
	EVS_COLUMN_TAGS
};

#define EVS_COLUMN_COUNT	EVS_COLUMN_TAGS

/* Triggers of a guarded table, and the one more of an event table. */
#define EVS_TRIGGER_INSERT	"evstore_insert"
#define EVS_TRIGGER_GUARD	"evstore_guard"
#define EVS_TRIGGER_GUARD_ROW "evstore_guard_row"

/* Trigger of an event table that inline projections follow. */
#define EVS_TRIGGER_INLINE	"evstore_inline"

typedef struct EvsTable
{
	Oid			relid;
	bool		plain;			/* a heap with nothing that only the executor's INSERT can do */
	bool		followed;		/* the same, but for the trigger of inline projections, to be fired */
	bool		row_security;	/* has policies, which may or may not bind the caller */
	Oid			position_index; /* unique on position */
	Oid			version_index;	/* unique on (stream, version) */
	Oid			id_index;		/* unique on id where there is one */
	char	   *name;			/* qualified and quoted */
	EvsShapes  *shapes;			/* event types and upcasters declared for it, or NULL */
	TupleTableSlot *probe;		/* buffer slot for looking at single rows; empty between uses */
	struct EvsWriter *writers[2];	/* kept state of inserting, through SPI and directly, or NULL */
	List	   *plans;			/* of statements over it; private to plan.c, as is the next */
	int			variants;		/* how many of them are conditions' and the like */
	MemoryContext context;		/* holds this struct and what it points to */
	struct EvsTable *next_retired;
} EvsTable;

extern const EvsXactSubscriber evs_table_xact;

extern void evs_table_install(void);
extern Oid	evs_table_argument(FunctionCallInfo fcinfo, int argument);
extern EvsTable *evs_table_open(Oid relid, LOCKMODE lockmode, Relation *rel);
extern void evs_table_close(Relation rel);
extern EvsTable *evs_table_enter(Relation rel);
extern void evs_table_leave(void);
extern AttrNumber evs_table_index_column(Relation index);
extern const char *evs_table_events(const EvsTable *table);
extern bool evs_table_needs_not_null(AttrNumber column);
extern bool evs_table_is_event_table(Oid relid);
extern bool evs_table_is_guarded(Oid relid);
extern bool evs_relation_is_event_table(Relation rel);
extern bool evs_relation_is_followed(Relation rel);
extern bool evs_relation_has_layout(Relation rel);

#endif							/* EVSTORE_TABLE_H */
