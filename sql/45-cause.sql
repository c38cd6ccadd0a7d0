-- Why events are appended.

CREATE FUNCTION evstore._handling(event evstore.event, "position" bigint, id uuid, metadata jsonb)
RETURNS evstore.event
AS 'MODULE_PATHNAME', 'evs_handling'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore._handling(evstore.event, bigint, uuid, jsonb) IS
	'the event itself, noted as the cause of what its handler appends';

CREATE FUNCTION evstore.trace(correlation_id text, event_table regclass DEFAULT NULL)
RETURNS TABLE (depth integer, cause text, "position" bigint, stream text, version bigint,
	recorded_at timestamptz, type text, data jsonb, metadata jsonb)
AS 'MODULE_PATHNAME', 'evs_trace'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.trace(text, regclass) IS
	'the events that belong to one correlation, each behind the one that caused it';
