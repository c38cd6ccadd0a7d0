/*
 * owner.h
 *		Running SQL as somebody else, with no more rights than theirs.
 */
#ifndef EVSTORE_OWNER_H
#define EVSTORE_OWNER_H

#include "utils/array.h"

/* Nothing but PostgreSQL's own objects; temporary ones last. */
#define EVS_SAFE_SEARCH_PATH "pg_catalog, pg_temp"

/* What evs_owner_begin() changed, for evs_owner_end() to put back. */
typedef struct EvsOwnerFrame
{
	Oid			saved_user;
	int			saved_context;
	int			guc_level;
} EvsOwnerFrame;

extern void evs_owner_begin(EvsOwnerFrame *frame, Oid owner, ArrayType *settings);
extern void evs_owner_begin_extension(EvsOwnerFrame *frame);
extern void evs_owner_run_extension(const char *sql, int count, Oid *types, Datum *values,
									const char *nulls, int expected);
extern void evs_owner_end(EvsOwnerFrame *frame);
extern void evs_owner_pin(const char *name, const char *value);
extern ArrayType *evs_owner_capture_settings(bool with_search_path);
extern ArrayType *evs_owner_capture_search_path(void);
extern ArrayType *evs_owner_settings_with_schema(ArrayType *settings, const char *schema);

#endif							/* EVSTORE_OWNER_H */
