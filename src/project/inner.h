/*
 * inner.h
 *		Running an aggregate's own functions, piece by piece.
 */
#ifndef EVSTORE_INNER_H
#define EVSTORE_INNER_H

#include "fmgr.h"
#include "nodes/execnodes.h"

/* An aggregate, ready to be run from one place of a statement. */
typedef struct EvsInner
{
	Oid			aggregate;
	char	   *name;
	Oid			collation;
	int			count;			/* of its arguments */
	bool		sealed;			/* is its state stored as sealed bytes, or as it is? */
	Oid			state_type;
	Oid			result_type;
	int16		length;			/* how to copy a state */
	bool		by_value;
	FmgrInfo	transition;
	FmgrInfo	combine;
	FmgrInfo	serialize;		/* these two if the state is internal */
	FmgrInfo	deserialize;
	FmgrInfo	final;
	int			final_count;	/* of the final function's arguments, 0 if there is none */
	NullableDatum initial;
} EvsInner;

extern bool evs_inner_possible(Oid aggregate);
extern bool evs_inner_has_final(Oid aggregate);
extern Oid	evs_inner_state_type(Oid aggregate, int count, const Oid *types);
extern Oid	evs_inner_stored_type(Oid aggregate, Oid state_type);
extern EvsInner *evs_inner_open(Oid aggregate, Oid collation, Oid stored_type, int count, const Oid *types);
extern AggState *evs_inner_pose(void);

/*
 * The pieces. "aggregation" is the executor's aggregation that they are part
 * of, or what evs_inner_pose() made.
 */
extern NullableDatum evs_inner_advance(EvsInner *inner, Node *aggregation, const NullableDatum *arguments,
									   bool *untouched);
extern NullableDatum evs_inner_combine(EvsInner *inner, Node *aggregation, NullableDatum a, NullableDatum b);
extern bool evs_inner_is_neutral(EvsInner *inner);
extern NullableDatum evs_inner_final(EvsInner *inner, Node *aggregation, NullableDatum state);
extern NullableDatum evs_inner_serialize(EvsInner *inner, Node *aggregation, NullableDatum state);
extern NullableDatum evs_inner_deserialize(EvsInner *inner, Node *aggregation, Datum bytes);
extern NullableDatum evs_inner_store(EvsInner *inner, Node *aggregation, NullableDatum state);
extern NullableDatum evs_inner_load(EvsInner *inner, Node *aggregation, NullableDatum stored);

#endif							/* EVSTORE_INNER_H */
