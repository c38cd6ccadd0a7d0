-- Append. The jsonb form and the text form are one function: PostgreSQL gives
-- an untyped literal or parameter to the text form, everything typed to the
-- other, and so a call with three bare literals is not ambiguous with the
-- array form.

CREATE FUNCTION evstore.append(
	stream text, type text, data jsonb,
	metadata jsonb DEFAULT NULL, expected_version bigint DEFAULT NULL,
	id uuid DEFAULT NULL, tags text[] DEFAULT NULL, event_table regclass DEFAULT NULL,
	OUT version bigint, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_append_one'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.append(text, text, jsonb, jsonb, bigint, uuid, text[], regclass) IS
	'append one event to a stream, under its expected version';

CREATE FUNCTION evstore.append(
	stream text, type text, data text,
	metadata text DEFAULT NULL, expected_version bigint DEFAULT NULL,
	id uuid DEFAULT NULL, tags text[] DEFAULT NULL, event_table regclass DEFAULT NULL,
	OUT version bigint, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_append_one_text'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.append(text, text, text, text, bigint, uuid, text[], regclass) IS
	'append one event to a stream, its data and metadata given as JSON text';

CREATE FUNCTION evstore.append(
	stream text, events evstore.new_event[],
	expected_version bigint DEFAULT NULL, event_table regclass DEFAULT NULL,
	OUT version bigint, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_append_many'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.append(text, evstore.new_event[], bigint, regclass) IS
	'append many events to a stream, all or none, under its expected version';
