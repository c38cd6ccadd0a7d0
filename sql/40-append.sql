-- Append. The jsonb form and the text form are one function: PostgreSQL gives
-- an untyped literal or parameter to the text form, everything typed to the
-- other, and so a call with three bare literals is not ambiguous with the
-- array form.

CREATE FUNCTION evstore.append(
	stream text, type text, data jsonb,
	metadata jsonb DEFAULT NULL, expected_version bigint DEFAULT NULL,
	id uuid DEFAULT NULL, tags text[] DEFAULT NULL, event_table regclass DEFAULT NULL,
	schema_version integer DEFAULT NULL,
	OUT version bigint, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_append_one'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.append(text, text, jsonb, jsonb, bigint, uuid, text[], regclass, integer) IS
	'append one event to a stream, under its expected version';

CREATE FUNCTION evstore.append(
	stream text, type text, data text,
	metadata text DEFAULT NULL, expected_version bigint DEFAULT NULL,
	id uuid DEFAULT NULL, tags text[] DEFAULT NULL, event_table regclass DEFAULT NULL,
	schema_version integer DEFAULT NULL,
	OUT version bigint, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_append_one_text'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.append(text, text, text, text, bigint, uuid, text[], regclass, integer) IS
	'append one event to a stream, its data and metadata given as JSON text';

CREATE FUNCTION evstore.append(
	stream text, events evstore.new_event[],
	expected_version bigint DEFAULT NULL, event_table regclass DEFAULT NULL,
	OUT version bigint, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_append_many'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.append(text, evstore.new_event[], bigint, regclass) IS
	'append many events to a stream, all or none, under its expected version';

-- Several streams at once.

CREATE TYPE evstore.stream_append AS (
	stream           text,
	events           evstore.new_event[],
	expected_version bigint
);
COMMENT ON TYPE evstore.stream_append IS
	'what append_streams() does to one stream: append events, or, without any, hold it at its expected version';

CREATE FUNCTION evstore.append_streams(
	appends evstore.stream_append[], event_table regclass DEFAULT NULL)
RETURNS TABLE (stream text, version bigint, "position" bigint)
AS 'MODULE_PATHNAME', 'evs_append_streams'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.append_streams(evstore.stream_append[], regclass) IS
	'append to several streams, all or none, each under its expected version';

CREATE FUNCTION evstore.expect_version(stream text, version bigint, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_expect_version'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.expect_version(text, bigint, regclass) IS
	'check that a stream is at a version, and hold it there until the transaction ends';

-- Dynamic consistency boundaries: a decision may rest on any events, chosen by
-- type and tag, and holds as long as no further one has come.

CREATE FUNCTION evstore.append_if(
	events evstore.new_event[], query jsonb, after bigint DEFAULT NULL,
	stream text DEFAULT NULL, event_table regclass DEFAULT NULL,
	OUT version bigint, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_append_if'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.append_if(evstore.new_event[], jsonb, bigint, text, regclass) IS
	'append events, all or none, if no event that the query means stands after a position';
