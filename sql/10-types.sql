-- The nouns: an event as it is stored, and an event on its way in.

\echo Use "CREATE EXTENSION evstore" to load this file. \quit

-- Whoever can put objects into the schema could put one in the way of every
-- call of a function here. CREATE EXTENSION takes a schema that is there
-- already, whoever made it (a restore does), so it is looked at first.
DO $$
BEGIN
	IF EXISTS (
		SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles owner ON owner.oid OPERATOR(pg_catalog.=) n.nspowner
			LEFT JOIN LATERAL pg_catalog.aclexplode(n.nspacl) granted
				ON granted.privilege_type OPERATOR(pg_catalog.=) 'CREATE' AND granted.grantee OPERATOR(pg_catalog.<>) n.nspowner
		WHERE n.nspname OPERATOR(pg_catalog.=) 'evstore'
			AND (granted.grantee IS NOT NULL OR NOT (owner.rolsuper OR owner.rolname OPERATOR(pg_catalog.=) CURRENT_USER)))
	THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'cannot create extension "evstore" in a schema that others can create objects in',
			HINT = 'Drop the schema "evstore", or rename it.';
	END IF;
	IF EXISTS (
		SELECT FROM pg_catalog.pg_depend d
		WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
			AND d.refobjid OPERATOR(pg_catalog.=) 'evstore'::pg_catalog.regnamespace
			AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass)
	THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = 'cannot create extension "evstore" in a schema that is not empty',
			HINT = 'Drop the schema "evstore", or rename it.';
	END IF;
END $$;

GRANT USAGE ON SCHEMA evstore TO PUBLIC;

CREATE TYPE evstore.event AS (
	"position"     bigint,
	version        bigint,
	recorded_at    timestamptz,
	schema_version integer,
	id             uuid,
	stream         text COLLATE "C",
	type           text COLLATE "C",
	data           jsonb,
	metadata       jsonb,
	tags           text[]
);
COMMENT ON TYPE evstore.event IS
	'an event as it stands in an event table, its columns in the table''s order';

CREATE TYPE evstore.new_event AS (
	type           text,
	data           jsonb,
	metadata       jsonb,
	id             uuid,
	tags           text[],
	schema_version integer
);
COMMENT ON TYPE evstore.new_event IS
	'an event to append: version, position and time are given by append()';

CREATE FUNCTION evstore.new_event(
	type text, data jsonb, metadata jsonb DEFAULT NULL, id uuid DEFAULT NULL,
	tags text[] DEFAULT NULL, schema_version integer DEFAULT NULL)
RETURNS evstore.new_event
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ROW(type, data, metadata, id, tags, schema_version)::evstore.new_event;
COMMENT ON FUNCTION evstore.new_event(text, jsonb, jsonb, uuid, text[], integer) IS
	'an event to append, as commands return it and append() takes an array of';

CREATE FUNCTION evstore.events(events jsonb)
RETURNS evstore.new_event[]
AS 'MODULE_PATHNAME', 'evs_events_from_json'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION evstore.events(jsonb) IS
	'make the event array of append() from a JSON array of {"type", "data", "metadata", "id", "tags", "schema_version"}';
