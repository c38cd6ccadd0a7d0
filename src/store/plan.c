/*
 * plan.c
 *		Statements over an event table, kept prepared.
 *
 * They are kept with what else is known of the table (table.c), and go with it.
 */
#include "evstore.h"

#include "store/plan.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

/* A statement over a table, kept prepared. */
typedef struct TablePlan
{
	const char *name;			/* of what it is over */
	char	   *sql;
	SPIPlanPtr	plan;
} TablePlan;

/* Conditions come in any form and length: so many are kept a table, and none that is longer. */
#define MOST_VARIANTS		32
#define LONGEST_VARIANT	4096

/* Free every plan of a table that is about to be forgotten. */
void
evs_plan_free_all(EvsTable *table)
{
	ListCell   *cell;

	foreach(cell, table->plans)
		SPI_freeplan(((TablePlan *) lfirst(cell))->plan);
}

/*
 * A statement over a table, prepared at its first use; call inside SPI. "sql"
 * has %s in place of "name", the table's own or that of evs_table_events(). One
 * that is planned anew each time is taken for one of many variants.
 */
SPIPlanPtr
evs_plan_prepare_over(EvsTable *table, const char *name, const char *sql, int nargs, Oid *argtypes, int cursor_options)
{
	bool		one_of_many = (cursor_options & CURSOR_OPT_CUSTOM_PLAN) != 0;
	ListCell   *cell;
	SPIPlanPtr	plan;

	foreach(cell, table->plans)
	{
		TablePlan  *known = lfirst(cell);

		if (known->name == name && strcmp(known->sql, sql) == 0)
			return known->plan;
	}

	plan = SPI_prepare_cursor(psprintf(sql, name), nargs, argtypes, cursor_options);
	if (plan == NULL)
		elog(ERROR, "could not prepare a statement over %s", table->name);
	if (one_of_many && (table->variants == MOST_VARIANTS || strlen(sql) > LONGEST_VARIANT))
		return plan;
	if (SPI_keepplan(plan) == 0)
	{
		MemoryContext caller = MemoryContextSwitchTo(table->context);
		TablePlan  *known = palloc_object(TablePlan);

		known->name = name;
		known->sql = pstrdup(sql);
		known->plan = plan;
		table->plans = lappend(table->plans, known);
		table->variants += one_of_many;
		MemoryContextSwitchTo(caller);
	}
	return plan;
}

/* The same over the table itself. */
SPIPlanPtr
evs_plan_prepare(EvsTable *table, const char *sql, int nargs, Oid *argtypes, int cursor_options)
{
	return evs_plan_prepare_over(table, table->name, sql, nargs, argtypes, cursor_options);
}

/*
 * Refuse to go on with what a statement did that was not over this table: it
 * names the table, and the name may have become another's meanwhile. To be
 * asked after the statement has run.
 */
void
evs_plan_check(const EvsTable *table, SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));

	if (!list_member_oid(source->relationOids, table->relid))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("event table %s was renamed while it was used", table->name),
				 errhint("Try again.")));
}
