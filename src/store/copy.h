/*
 * copy.h
 *		COPY into an event table, many rows at once.
 */
#ifndef EVSTORE_COPY_H
#define EVSTORE_COPY_H

#include "nodes/plannodes.h"
#include "tcop/cmdtag.h"
#include "utils/queryenvironment.h"

extern bool evs_copy_from(const PlannedStmt *statement, const char *query,
						  QueryEnvironment *environment, QueryCompletion *completion);

#endif							/* EVSTORE_COPY_H */
