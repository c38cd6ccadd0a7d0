-- Reading.

CREATE FUNCTION evstore.read_stream(
	stream text, from_version bigint DEFAULT NULL, max_count bigint DEFAULT NULL,
	backwards boolean DEFAULT false, event_table regclass DEFAULT NULL)
RETURNS SETOF evstore.event
AS 'MODULE_PATHNAME', 'evs_read_stream'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.read_stream(text, bigint, bigint, boolean, regclass) IS
	'the events of one stream in version order, or backwards';

CREATE FUNCTION evstore.read_events(
	after_position bigint DEFAULT 0, max_count bigint DEFAULT NULL,
	types text[] DEFAULT NULL, categories text[] DEFAULT NULL, event_table regclass DEFAULT NULL)
RETURNS SETOF evstore.event
AS 'MODULE_PATHNAME', 'evs_read_events'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.read_events(bigint, bigint, text[], text[], regclass) IS
	'the events of an event table in position order, never past the safe position';

CREATE FUNCTION evstore.stream_version(stream text, event_table regclass DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_stream_version'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.stream_version(text, regclass) IS
	'the last version of a stream, 0 if it has no event';

CREATE FUNCTION evstore.read_by(
	query jsonb, after bigint DEFAULT NULL, max_count bigint DEFAULT NULL, event_table regclass DEFAULT NULL)
RETURNS SETOF evstore.event
AS 'MODULE_PATHNAME', 'evs_read_by'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.read_by(jsonb, bigint, bigint, regclass) IS
	'the events that a query means, by type and tag, in position order, never past the safe position';

CREATE FUNCTION evstore.read_position()
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_read_position'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore.read_position() IS
	'the safe position under which this session last read by read_events() or read_by(); NULL if it has not';
