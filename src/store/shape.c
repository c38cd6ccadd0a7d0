/*
 * shape.c
 *		What is declared of the shapes that events of a table have.
 *
 * Data of an event type change their shape as years go by. Shapes of a type are
 * numbered, from 1 on, without holes:
 *
 *	an event type	(type, version) says what data of that shape must be. The
 *					highest version declared is the current one: that is what an
 *					append means which does not say
 *	an upcaster		(type, version) makes what has that shape of the next one. So
 *					the newest version is the one after the last upcaster, and
 *					every older one leads to it: a chain has no gap by how it is
 *					numbered
 *
 * Both are rows of ours by event table. They are read with what else a backend
 * knows of the table (table.c), and known as long as that is: a trigger on the
 * rows says that the table has changed, whoever changes them, a restore
 * included. Read by the index, without SQL: most tables
 * have none, and should not pay for finding that out; and parallel workers read
 * them, too.
 */
#include "evstore.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/catalog.h"
#include "commands/trigger.h"
#include "store/shape.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Columns of evstore._event_type and of evstore._upcaster, which begin alike. */
enum
{
	COLUMN_EVENT_TABLE = 1, COLUMN_TYPE, COLUMN_VERSION, COLUMN_ID, COLUMN_OWNER, COLUMN_SETTINGS,
	COLUMN_IS_CHECKED, COLUMN_JSON_SCHEMA,
	COLUMN_SOURCE = COLUMN_IS_CHECKED,
	COLUMN_COUNT = COLUMN_JSON_SCHEMA
};

/* Read what both have in common. */
static void
read_shape(EvsShape *shape, const Datum *values)
{
	shape->type = DatumGetTextPCopy(values[COLUMN_TYPE - 1]);
	shape->version = DatumGetInt32(values[COLUMN_VERSION - 1]);
	shape->id = DatumGetInt32(values[COLUMN_ID - 1]);
	shape->owner = DatumGetObjectId(values[COLUMN_OWNER - 1]);
	shape->settings = DatumGetArrayTypePCopy(values[COLUMN_SETTINGS - 1]);
}

/* Add an event type. */
static void
add_event_type(EvsShapes *shapes, const Datum *values, const bool *nulls)
{
	EvsEventType *type;

	shapes->types = shapes->types == NULL ? palloc_array(EvsEventType, 1) :
		repalloc_array(shapes->types, EvsEventType, shapes->type_count + 1);
	type = memset(&shapes->types[shapes->type_count++], 0, sizeof(EvsEventType));
	read_shape(&type->shape, values);
	type->is_checked = DatumGetBool(values[COLUMN_IS_CHECKED - 1]);
	if (!nulls[COLUMN_JSON_SCHEMA - 1])
		type->json_schema = DatumGetJsonbPCopy(values[COLUMN_JSON_SCHEMA - 1]);
}

/* Add an upcaster. */
static void
add_upcaster(EvsShapes *shapes, const Datum *values, const bool *nulls)
{
	EvsUpcaster *upcaster;

	shapes->upcasters = shapes->upcasters == NULL ? palloc_array(EvsUpcaster, 1) :
		repalloc_array(shapes->upcasters, EvsUpcaster, shapes->upcaster_count + 1);
	upcaster = memset(&shapes->upcasters[shapes->upcaster_count++], 0, sizeof(EvsUpcaster));
	read_shape(&upcaster->shape, values);
	shapes->source = psprintf(EVS_EXTENSION "._upcast_%d", DatumGetInt32(values[COLUMN_SOURCE - 1]));
}

/* Add the rows that a table of ours has of an event table. */
static void
scan(const char *name, Oid event_table, EvsShapes *shapes,
	 void (*add) (EvsShapes *shapes, const Datum *values, const bool *nulls))
{
	Oid			schema = evs_catalog()->schema;
	Oid			relid = get_relname_relid(name, schema);
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	row;

	/* Of an extension that is going, it may be gone. */
	if (!OidIsValid(relid))
		return;
	rel = table_open(relid, AccessShareLock);
	ScanKeyInit(&key, COLUMN_EVENT_TABLE, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(event_table));
	scan = systable_beginscan(rel, get_relname_relid(psprintf("%s_pkey", name), schema), true, NULL, 1, &key);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Datum		values[COLUMN_COUNT];
		bool		nulls[COLUMN_COUNT];

		Assert(RelationGetDescr(rel)->natts <= COLUMN_COUNT);
		heap_deform_tuple(row, RelationGetDescr(rel), values, nulls);
		add(shapes, values, nulls);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Order by type, in the bytes of its name as the index has it, then version. */
static int
compare(const EvsShape *shape, const text *type, int version)
{
	int			length = VARSIZE_ANY_EXHDR(shape->type);
	int			other = VARSIZE_ANY_EXHDR(type);
	int			order = memcmp(VARDATA_ANY(shape->type), VARDATA_ANY(type), Min(length, other));

	if (order == 0)
		order = length - other;
	return order != 0 ? order : shape->version - version;
}

/* The same, for qsort(). */
static int
compare_shapes(const void *one, const void *other)
{
	const EvsShape *shape = other;

	return compare(one, shape->type, shape->version);
}

/* What is declared for an event table, in the current memory context; NULL if nothing is. */
EvsShapes *
evs_shapes_load(Oid event_table)
{
	EvsShapes	shapes = {0};

	scan("_event_type", event_table, &shapes, add_event_type);
	scan("_upcaster", event_table, &shapes, add_upcaster);
	if (shapes.type_count == 0 && shapes.upcaster_count == 0)
		return NULL;
	/* Who connects with ignore_system_indexes gets the rows in any order. */
	if (shapes.type_count > 1)
		qsort(shapes.types, shapes.type_count, sizeof(EvsEventType), compare_shapes);
	if (shapes.upcaster_count > 1)
		qsort(shapes.upcasters, shapes.upcaster_count, sizeof(EvsUpcaster), compare_shapes);
	return memcpy(palloc_object(EvsShapes), &shapes, sizeof(EvsShapes));
}

/* Is a shape one of this type? */
bool
evs_shapes_same_type(const EvsShape *shape, const text *type)
{
	return compare(shape, type, shape->version) == 0;
}

/* Where a version of a type is in a list of structs that begin with a shape, or would be. */
static int
find(const void *list, int count, size_t size, const text *type, int version)
{
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (compare((const EvsShape *) ((const char *) list + middle * size), type, version) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* What is declared of a version of a type, NULL if nothing is. */
EvsEventType *
evs_shapes_event_type(const EvsShapes *shapes, const text *type, int version)
{
	int			i = find(shapes->types, shapes->type_count, sizeof(EvsEventType), type, version);

	return i < shapes->type_count && compare(&shapes->types[i].shape, type, version) == 0 ? &shapes->types[i] : NULL;
}

/* The upcaster from a version of a type, NULL if there is none. */
EvsUpcaster *
evs_shapes_upcaster(const EvsShapes *shapes, const text *type, int version)
{
	int			i = find(shapes->upcasters, shapes->upcaster_count, sizeof(EvsUpcaster), type, version);

	return i < shapes->upcaster_count && compare(&shapes->upcasters[i].shape, type, version) == 0 ?
		&shapes->upcasters[i] : NULL;
}

/* Is anything declared of a type? */
bool
evs_shapes_know(const EvsShapes *shapes, const text *type)
{
	int			event_type = find(shapes->types, shapes->type_count, sizeof(EvsEventType), type, 0);
	int			upcaster = find(shapes->upcasters, shapes->upcaster_count, sizeof(EvsUpcaster), type, 0);

	return (event_type < shapes->type_count && evs_shapes_same_type(&shapes->types[event_type].shape, type)) ||
		(upcaster < shapes->upcaster_count && evs_shapes_same_type(&shapes->upcasters[upcaster].shape, type));
}

/* The version that an append of this type means if it does not say: the highest one declared. */
int
evs_shapes_current(const EvsShapes *shapes, const text *type)
{
	int			after = find(shapes->types, shapes->type_count, sizeof(EvsEventType), type, PG_INT32_MAX);

	if (after == 0 || !evs_shapes_same_type(&shapes->types[after - 1].shape, type))
		return EVS_FIRST_SCHEMA_VERSION;
	return shapes->types[after - 1].shape.version;
}

/* The version to which all others of a type lead: the one after its last upcaster. */
int
evs_shapes_newest(const EvsShapes *shapes, const text *type)
{
	size_t		size = sizeof(EvsUpcaster);

	return EVS_FIRST_SCHEMA_VERSION +
		find(shapes->upcasters, shapes->upcaster_count, size, type, PG_INT32_MAX) -
		find(shapes->upcasters, shapes->upcaster_count, size, type, 0);
}

/* Is the function of a declaration known? Somebody may have dropped it by force since. */
bool
evs_shape_is_resolved(const EvsShape *shape)
{
	return OidIsValid(shape->function) && SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(shape->function));
}

/* Refuse to run what is declared for a role that was dropped since: its oid may become another's. */
void
evs_shape_check_owner(const EvsShape *shape, const char *what)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(shape->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of the %s %s does not exist", what, evs_shape_name(shape)),
				 errhint("Drop the definition, and create it again.")));
}

PG_FUNCTION_INFO_V1(evs_shape_changes);

/* evstore._shape_changes(): trigger on both tables. What is known of the event table is known no more. */
Datum
evs_shape_changes(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	row;
	bool		isnull;
	Datum		event_table;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		RelationGetNamespace(trigger->tg_relation) != evs_catalog()->schema)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("evstore._shape_changes() must be fired by its own triggers")));
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	event_table = heap_getattr(row, COLUMN_EVENT_TABLE, RelationGetDescr(trigger->tg_relation), &isnull);
	if (!isnull && SearchSysCacheExists1(RELOID, event_table))
		CacheInvalidateRelcacheByRelid(DatumGetObjectId(event_table));
	return PointerGetDatum(row);
}

/* What a version of a type is called in messages. */
char *
evs_shape_name(const EvsShape *shape)
{
	return psprintf("version %d of event type \"%s\"", shape->version, text_to_cstring(shape->type));
}
