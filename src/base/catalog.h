/*
 * catalog.h
 *		Oids of the extension's own objects in this database.
 */
#ifndef EVSTORE_CATALOG_H
#define EVSTORE_CATALOG_H

typedef struct EvsCatalog
{
	Oid			schema;
	Oid			owner;			/* of the extension's tables: acts on them */
	Oid			position_sequence;
	Oid			event_type;		/* composite type evstore.event */
	Oid			new_event_type; /* composite type evstore.new_event */
	Oid			insert_function;	/* trigger function that makes an event table */
	Oid			guard_function; /* trigger function that makes a guarded table */
	Oid			inline_function;	/* trigger function that applies inline projections */
	Oid			batch_from_function;	/* evstore._batch_from() */
	Oid			batch_to_function;	/* evstore._batch_to() */
	Oid			shard_from_function;	/* evstore._shard_from(), and so on */
	Oid			shard_to_function;
	Oid			shard_number_function;
	Oid			shard_count_function;
} EvsCatalog;

extern const EvsCatalog *evs_catalog_find(void);
extern const EvsCatalog *evs_catalog(void);
extern const EvsCatalog *evs_catalog_lock(void);
extern void evs_catalog_install(void);

#endif							/* EVSTORE_CATALOG_H */
