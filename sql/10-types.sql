-- The nouns: an event as it is stored, and an event on its way in.

\echo Use "CREATE EXTENSION evstore" to load this file. \quit

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
	type     text,
	data     jsonb,
	metadata jsonb,
	id       uuid,
	tags     text[]
);
COMMENT ON TYPE evstore.new_event IS
	'an event to append: version, position and time are given by append()';

CREATE FUNCTION evstore.events(events jsonb)
RETURNS evstore.new_event[]
AS 'MODULE_PATHNAME', 'evs_events_from_json'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION evstore.events(jsonb) IS
	'make the event array of append() from a JSON array of {"type", "data", "metadata", "id", "tags"}';
