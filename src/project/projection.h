/*
 * projection.h
 *		The rows that say what projections there are.
 */
#ifndef EVSTORE_PROJECTION_H
#define EVSTORE_PROJECTION_H

#include "base/xact.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/array.h"

/* How a projection says what it does with events. */
typedef enum EvsProjectionKind
{
	EVS_QUERY,
	EVS_STATEMENT,
	EVS_HANDLER
} EvsProjectionKind;

/* What is done with an event that a projection fails on, when trying again does not help. */
typedef enum EvsPolicy
{
	EVS_STOP,
	EVS_SKIP,
	EVS_PARK
} EvsPolicy;

/* A row of evstore._projection. */
typedef struct EvsProjection
{
	int			id;
	char	   *name;
	EvsProjectionKind kind;
	bool		is_inline;		/* applied by whoever appends */
	Oid			owner;
	Oid			event_table;
	List	   *event_tables;	/* the same, or several: the first of which it is */
	Oid			read_table;		/* InvalidOid if none was declared */
	Oid			state_table;	/* what a query's batches write: the read table, or what is behind it if it is a view */
	List	   *read_tables;	/* oids of all that were declared, the first of them read_table */
	char	   *definition;		/* as it was declared */
	char	   *columns;		/* of a query's read table, quoted, with commas between */
	char	   *keys;			/* those of them that are the key, or EVS_NO_KEYS: query.h */
	char	   *on_conflict;	/* of a query's upsert: its ON CONFLICT clause */
	ArrayType  *settings;		/* see owner.c */
	ArrayType  *stored_settings;	/* the same without what is added to its search_path while it is applied */
	int			batch_size;		/* positions a batch spans at most */
	EvsPolicy	on_error;
	int			retries;		/* of an event that fails, before that is done */
	bool		ordered;		/* right only in the order of all positions: cannot be inline */
	int			rebuilds;		/* the projection that this one builds anew, or 0 */
	Oid			shadow;			/* schema of the only tables that it may write, or InvalidOid: shadow.c */
	int			shard_of;		/* the first shard, if this is another one of a projection, or 0 */
	int			shard;			/* from 0 */
	int			shards;			/* of so many */
	int			division;		/* raised when these shards get other events than before */
	int64		hashes;			/* by which the shards are told apart: shard.c */
} EvsProjection;

/* The ids of a projection's shards, of which $1 is the first. */
#define EVS_SHARDS_OF "(SELECT id FROM evstore._projection WHERE id = $1 OR shard_of = $1)"

/* The projection that one is a shard of, or itself. */
#define EVS_WHOLE(projection) ((projection)->shard_of != 0 ? (projection)->shard_of : (projection)->id)

extern const EvsXactSubscriber evs_projection_xact;

extern int	evs_projection_find(const char *name, Oid *owner);
extern int	evs_projection_find_own(const char *name);
extern int	evs_projection_find_mode(const char *name, List **inline_tables);
extern EvsProjection *evs_projection_load(int id);
extern char *evs_projection_shadow(int id);
extern void evs_projection_insert(EvsProjection *projection, const char *select);
extern void evs_projection_set_division(int whole, int shards, int64 hashes);
extern void evs_projection_insert_shards(int whole, int from);
extern void evs_projection_delete(const EvsProjection *projection);
extern void evs_projection_pause(int id, bool paused);
extern void evs_projection_note_change(void);
extern bool evs_projection_changed_here(void);
extern bool evs_projection_restored_here(void);
extern int	evs_projection_own(FunctionCallInfo fcinfo, const char *function);
extern bool evs_projection_set_mode(const EvsProjection *projection, bool is_inline, EvsPosition from, EvsPosition to);
extern List *evs_projection_list_inline(Oid event_table);
extern void evs_projection_check_policies(Oid event_table, Oid owner);
extern void evs_projection_check_reader(Oid event_table, Oid owner);

#endif							/* EVSTORE_PROJECTION_H */
