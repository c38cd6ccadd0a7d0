/*
 * append.h
 *		Append: the order of its steps, and the rules that hold on every way
 *		into an event table.
 */
#ifndef EVSTORE_APPEND_H
#define EVSTORE_APPEND_H

#include "fmgr.h"
#include "store/condition.h"
#include "store/event.h"
#include "store/stripe.h"

/* The meanings of expected_version besides a version. */
#define EVS_ANY_VERSION		(-2)	/* NULL in SQL */
#define EVS_SOME_VERSION	(-1)	/* the stream must exist */

/* What is to be appended to one stream, and then where it went. */
typedef struct EvsAppend
{
	const text *stream;			/* NULL: the events belong to no stream, and have no versions */
	EvsEvent   *events;
	int			count;			/* 0: only hold the stream at its version */
	EvsVersion	expected;
	bool		yields;			/* to a conflict: then nothing is appended, and "version" tells */
	bool		conflict;		/* it did */
	EvsVersion	version;		/* of the stream; after the append, of the last event */
	EvsPosition position;		/* of the last event; 0 where there is none */
} EvsAppend;

extern void evs_append(Oid relid, EvsAppend *appends, int count, const EvsCondition *condition);
extern Datum evs_append_result(const EvsAppend *append);
extern EvsVersion evs_append_expected(FunctionCallInfo fcinfo, int argument);
extern void evs_append_check_expected(EvsVersion expected);
extern void evs_append_check_version(const text *stream, EvsVersion expected, EvsVersion actual);
extern void evs_append_want_stripes(EvsStripes *stripes, const text *type, ArrayType *tags);
extern void evs_append_require_writable(void);

#endif							/* EVSTORE_APPEND_H */
