-- Event table "retail" from the lines that the shell command :file prints. The
-- quote and delimiter are bytes that JSON never holds, so that a line is a field.
CREATE TEMP TABLE line (event jsonb);
\set copy '\\copy line FROM PROGRAM ' :'file' ' WITH (FORMAT csv, QUOTE E''\\x01'', DELIMITER E''\\x02'')'
:copy
SELECT evstore.create_event_table('retail') \g /dev/null
INSERT INTO retail (stream, type, data)
	SELECT event->>'stream', event->>'type', event->'data' FROM line ORDER BY (event->>'seq')::bigint;
VACUUM ANALYZE retail;
