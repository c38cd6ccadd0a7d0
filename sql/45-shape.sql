-- What shape events have: event types, their versions and checks, and the
-- upcasters that make the newest shape of older ones. store/shape.c reads both
-- tables by the numbers of their columns.

CREATE SEQUENCE evstore._shape_id AS integer;
SELECT pg_catalog.pg_extension_config_dump('evstore._shape_id', '');

CREATE TABLE evstore._event_type (
	event_table    regclass NOT NULL,
	type           text COLLATE "C" NOT NULL,
	schema_version integer NOT NULL CHECK (schema_version > 0),
	id             integer NOT NULL UNIQUE DEFAULT pg_catalog.nextval('evstore._shape_id'),
	owner          regrole NOT NULL,
	settings       text[] NOT NULL,
	is_checked     boolean NOT NULL,
	json_schema    jsonb,
	PRIMARY KEY (event_table, type, schema_version)
);
COMMENT ON TABLE evstore._event_type IS
	'one row a declared version of an event type; what checks its data is kept in the view evstore._check_<id>';
SELECT pg_catalog.pg_extension_config_dump('evstore._event_type', '');

CREATE TABLE evstore._upcaster (
	event_table  regclass NOT NULL,
	type         text COLLATE "C" NOT NULL,
	from_version integer NOT NULL CHECK (from_version > 0),
	id           integer NOT NULL UNIQUE DEFAULT pg_catalog.nextval('evstore._shape_id'),
	owner        regrole NOT NULL,
	settings     text[] NOT NULL,
	source       integer NOT NULL,	-- the same for all of an event table: the view evstore._upcast_<source>
	PRIMARY KEY (event_table, type, from_version)
);
COMMENT ON TABLE evstore._upcaster IS
	'one row an upcaster; its function is kept in the view evstore._upcaster_<id>';
SELECT pg_catalog.pg_extension_config_dump('evstore._upcaster', '');

CREATE FUNCTION evstore._shape_changes()
RETURNS trigger
AS 'MODULE_PATHNAME', 'evs_shape_changes'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore._shape_changes() IS
	'trigger that has every session forget what it knew of the shapes of an event table';
REVOKE EXECUTE ON FUNCTION evstore._shape_changes() FROM PUBLIC;
CREATE TRIGGER changes BEFORE INSERT OR UPDATE OR DELETE ON evstore._event_type
	FOR EACH ROW EXECUTE FUNCTION evstore._shape_changes();
CREATE TRIGGER changes BEFORE INSERT OR UPDATE OR DELETE ON evstore._upcaster
	FOR EACH ROW EXECUTE FUNCTION evstore._shape_changes();
ALTER TABLE evstore._event_type ENABLE ALWAYS TRIGGER changes;
ALTER TABLE evstore._upcaster ENABLE ALWAYS TRIGGER changes;

CREATE FUNCTION evstore.create_event_type(
	type text, schema_version integer DEFAULT 1, "check" text DEFAULT NULL,
	json_schema jsonb DEFAULT NULL, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_create_event_type'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.create_event_type(text, integer, text, jsonb, regclass) IS
	'declare a version of an event type, and what its data must be; the highest one declared is what appends mean that do not say';

CREATE FUNCTION evstore.drop_event_type(type text, schema_version integer DEFAULT 1, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_drop_event_type'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.drop_event_type(text, integer, regclass) IS
	'forget the declaration of a version of an event type; no event is touched';

CREATE FUNCTION evstore.create_upcaster(
	type text, from_version integer, function text, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_create_upcaster'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.create_upcaster(text, integer, text, regclass) IS
	'declare how events of a version of a type are read as the next version: a function of data, or of events';

CREATE FUNCTION evstore.drop_upcaster(type text, from_version integer, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_drop_upcaster'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.drop_upcaster(text, integer, regclass) IS
	'forget the last upcaster of an event type; no event is touched';

-- What a view of upcast events calls. Where an upcaster is not marked parallel
-- safe, the view calls the function whose name ends in _here.

CREATE FUNCTION evstore._upcast(
	event_table oid, "position" bigint, version bigint, recorded_at timestamptz, schema_version integer,
	id uuid, stream text, type text, data jsonb, metadata jsonb, tags text[])
RETURNS SETOF evstore.event
AS 'MODULE_PATHNAME', 'evs_upcast'
LANGUAGE C STABLE PARALLEL SAFE ROWS 1;
COMMENT ON FUNCTION evstore._upcast(oid, bigint, bigint, timestamptz, integer, uuid, text, text, jsonb, jsonb, text[]) IS
	'what an event is by now: one event as a rule, or several, or none';

CREATE FUNCTION evstore._upcast_here(
	event_table oid, "position" bigint, version bigint, recorded_at timestamptz, schema_version integer,
	id uuid, stream text, type text, data jsonb, metadata jsonb, tags text[])
RETURNS SETOF evstore.event
AS 'MODULE_PATHNAME', 'evs_upcast'
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION evstore._upcast_here(oid, bigint, bigint, timestamptz, integer, uuid, text, text, jsonb, jsonb, text[]) IS
	'the same, not in a parallel worker';

CREATE FUNCTION evstore._upcast_data(event_table oid, "position" bigint, type text, schema_version integer, data jsonb)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'evs_upcast_data'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION evstore._upcast_data(oid, bigint, text, integer, jsonb) IS
	'the data of an event in their newest shape';

CREATE FUNCTION evstore._upcast_data_here(event_table oid, "position" bigint, type text, schema_version integer, data jsonb)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'evs_upcast_data'
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._upcast_data_here(oid, bigint, text, integer, jsonb) IS
	'the same, not in a parallel worker';

CREATE FUNCTION evstore._upcast_version(event_table oid, type text, schema_version integer)
RETURNS integer
AS 'MODULE_PATHNAME', 'evs_upcast_version'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION evstore._upcast_version(oid, text, integer) IS
	'the version of the newest shape of an event';

-- A view of ours that keeps a function or a type knows its present name.
CREATE FUNCTION evstore._kept_in(view text)
RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT CASE d.refclassid WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN d.refobjid::pg_catalog.regprocedure::text
			ELSE d.refobjid::pg_catalog.regtype::text END
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
			AND d.refclassid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass)
	WHERE c.relname = view AND c.relnamespace = 'evstore'::pg_catalog.regnamespace
	ORDER BY d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass DESC
	LIMIT 1;
END;
COMMENT ON FUNCTION evstore._kept_in(text) IS
	'the function, or else the type, that a view of the extension keeps';

CREATE VIEW evstore.event_types AS
	SELECT t.event_table, t.type, t.schema_version,
		t.schema_version = pg_catalog.max(t.schema_version) OVER (PARTITION BY t.event_table, t.type) AS is_current,
		CASE WHEN t.is_checked THEN evstore._kept_in('_check_' || t.id) END AS "check", t.json_schema, t.owner
	FROM evstore._event_type t;
COMMENT ON VIEW evstore.event_types IS
	'every version of an event type that is declared, and what checks its data';
GRANT SELECT ON evstore.event_types TO PUBLIC;

CREATE VIEW evstore.upcasters AS
	SELECT u.event_table, u.type, u.from_version, evstore._kept_in('_upcaster_' || u.id) AS function, u.owner
	FROM evstore._upcaster u;
COMMENT ON VIEW evstore.upcasters IS
	'every upcaster: events of which version of which type it reads as the next';
GRANT SELECT ON evstore.upcasters TO PUBLIC;
