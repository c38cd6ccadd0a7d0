/*
 * row.h
 *		New events as rows of the table, as INSERT and COPY bring them.
 */
#ifndef EVSTORE_ROW_H
#define EVSTORE_ROW_H

#include "datatype/timestamp.h"
#include "store/stripe.h"
#include "store/table.h"

extern const text *evs_row_stream(const Datum *values);
extern void evs_row_check(const EvsTable *table, Datum *values, bool *nulls);
extern void evs_row_check_payload(const Datum *values, const bool *nulls);
extern void evs_row_want_stripes(EvsStripes *stripes, const Datum *values, const bool *nulls);
extern EvsVersion evs_row_follow(Datum *values, bool *nulls, EvsVersion last);
extern void evs_row_place(Datum *values, bool *nulls, EvsPosition position, TimestampTz recorded_at);

#endif							/* EVSTORE_ROW_H */
