-- evstore.append_if: the append condition of dynamic consistency boundaries.
-- What a query means, from which position on, what counts, and what is written.

CREATE SCHEMA regress_append_if;
SET search_path = regress_append_if;
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT evstore.create_event_table();

-- one event of a type, with tags
CREATE FUNCTION one(type text, VARIADIC tags text[] DEFAULT NULL) RETURNS evstore.new_event[] LANGUAGE sql
	AS $$ SELECT ARRAY[ROW(type, '{}', NULL, NULL, tags, NULL)::evstore.new_event] $$;
-- what becomes of an append under a query: "appended", or the error; nothing stays written
CREATE FUNCTION outcome(query jsonb, after bigint DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	given bigint;
BEGIN
	SELECT a.position INTO given FROM evstore.append_if(one('Probe', 'probe'), query, after) a;
	IF NOT EXISTS (SELECT FROM events e WHERE e.position = given AND type = 'Probe') THEN
		RETURN 'appended, but not there';
	END IF;
	RAISE EXCEPTION 'undo' USING ERRCODE = 'P0002';
EXCEPTION
	WHEN no_data_found THEN RETURN 'appended';
	WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;

-- Without a stream: no version, and the position of the last event.
SELECT version, position AS first_a FROM evstore.append_if(one('A', 'x:1', 'y:1'), '{}') \gset
SELECT version IS NULL AS no_version, position > :first_a AS higher
FROM evstore.append_if(one('B', 'x:1') || one('B', 'x:2', 'y:2') || one('C'), '{}', :first_a);
SELECT position AS last FROM events ORDER BY position DESC LIMIT 1 \gset
SELECT position - :last AS position, version, stream, type, tags, id, schema_version FROM events ORDER BY position;

-- Queries by type, by tag, by both, by several items; every event.
SELECT query, outcome(query::jsonb) FROM (VALUES
	('{}'),
	('{"items": [{"types": ["A"]}]}'),
	('{"items": [{"types": ["Z"]}]}'),
	('{"items": [{"types": ["Z", "C"]}]}'),
	('{"items": [{"types": ["a"]}]}'),
	('{"items": [{"tags": ["x:1"]}]}'),
	('{"items": [{"tags": ["x:3"]}]}'),
	('{"items": [{"tags": ["X:1"]}]}'),
	('{"items": [{"tags": ["x:1", "y:1"]}]}'),
	('{"items": [{"tags": ["y:1", "x:1"]}]}'),
	('{"items": [{"tags": ["x:1", "y:2"]}]}'),
	('{"items": [{"tags": ["y:2", "x:1"]}]}'),
	('{"items": [{"tags": ["x:1", "x:1"]}]}'),
	('{"items": [{"types": ["B"], "tags": ["x:1"]}]}'),
	('{"items": [{"types": ["C"], "tags": ["x:1"]}]}'),
	('{"items": [{"types": ["A", "B"], "tags": ["y:2"]}]}'),
	('{"items": [{"types": ["A", "C"], "tags": ["y:2"]}]}'),
	('{"items": [{"types": ["Z"]}, {"tags": ["x:3"]}]}'),
	('{"items": [{"types": ["Z"]}, {"tags": ["x:2"]}]}'),
	('{"items": [{"types": ["C"], "tags": ["x:2"]}, {"types": ["B"], "tags": ["y:1"]}]}'),
	('{"items": [{"types": ["C"], "tags": ["x:2"]}, {"types": ["B"], "tags": ["y:2"]}]}'),
	('{"items": [{"tags": [""]}]}')) q (query);
-- a thousand items, of which the last is the one
SELECT outcome(('{"items": [' || string_agg(format('{"tags": ["n:%s"]}', g), ', ') || ']}')::jsonb) AS none,
	outcome(('{"items": [' || string_agg(format('{"tags": ["n:%s"]}', g), ', ') || ', {"tags": ["y:2"]}]}')::jsonb) AS last_one
FROM generate_series(1, 1000) g;

-- After: absent and 0 mean anywhere; the event at the position itself is known.
SELECT which, outcome('{"items": [{"tags": ["x:1"]}]}', after) FROM (VALUES
	('absent', NULL), ('zero', 0), ('before the first', :first_a - 1), ('the first', :first_a), ('the one behind it', :first_a + 1),
	('the last', :last), ('far beyond', :last + 1000000), ('the end of all', 9223372036854775807)) a (which, after);
-- a position that nobody has, below a match, is as good
SELECT outcome('{}', :last - 1) AS below, outcome('{}', :last) AS at, outcome('{"items": [{"types": ["C"]}]}', :last - 1) AS of_the_type;
SELECT outcome('{}', -1);

-- A condition that fails writes nothing, and uses no version.
SELECT version FROM evstore.append_if(one('S') || one('S'), '{"items": [{"tags": ["z"]}]}', stream => 's-1');
SELECT count(*) AS before FROM events \gset
SELECT * FROM evstore.append_if(one('S', 'z') || one('T', 'z'), '{"items": [{"tags": ["x:1"]}]}', stream => 's-1');
\echo :SQLSTATE
SELECT count(*) = :before AS nothing FROM events;
SELECT version FROM evstore.append_if(one('S', 'z'), '{"items": [{"tags": ["z"]}]}', stream => 's-1');
SELECT version FROM evstore.append('s-1', 'S', '{}', expected_version => 3);
SELECT version, type, tags FROM evstore.read_stream('s-1');
-- a stream's events are found by conditions as well
SELECT outcome('{"items": [{"types": ["S"], "tags": ["z"]}]}') AS by_tag, outcome('{"items": [{"types": ["S"]}]}') AS by_type;
-- the error says where the last of them is
DO $$
DECLARE
	said text;
	hinted text;
BEGIN
	PERFORM evstore.append_if(one('A'), '{"items": [{"tags": ["x:1"]}]}');
EXCEPTION WHEN SQLSTATE 'VE004' THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL, hinted = PG_EXCEPTION_HINT;
	RAISE NOTICE '%: %', SQLERRM,
		replace(said, (SELECT max(position) FROM events WHERE tags @> '{x:1}')::text, 'LAST');
	RAISE NOTICE '%', hinted;
END
$$;

-- Everything by which tags come in takes part.
SELECT version FROM evstore.append('t-1', 'T', '{}', tags => '{by:append}');
SELECT version FROM evstore.append('t-1', one('T', 'by:many'));
SELECT version FROM evstore.append_streams(ARRAY[('t-2', one('T', 'by:streams'), NULL)]::evstore.stream_append[]);
INSERT INTO events (stream, type, data, tags) VALUES ('t-1', 'T', '{}', '{by:insert}'), ('t-1', 'T', '{}', '[3:4]={by:insert,by:bounds}');
COPY events (stream, type, data, tags) FROM stdin;
t-3	T	{}	{by:copy}
\.
SELECT tag, outcome(jsonb_build_object('items', jsonb_build_array(jsonb_build_object('tags', jsonb_build_array(tag)))))
FROM unnest('{by:append,by:many,by:streams,by:insert,by:bounds,by:copy,by:none}'::text[]) tag;

-- One's own events count before they are committed, those of a rolled back savepoint do not.
BEGIN;
SELECT version FROM evstore.append('own-1', 'Own', '{}', tags => '{own}');
SELECT outcome('{"items": [{"tags": ["own"]}]}');
ROLLBACK;
BEGIN;
SAVEPOINT one;
SELECT version FROM evstore.append('own-1', 'Own', '{}', tags => '{own}');
ROLLBACK TO SAVEPOINT one;
SELECT outcome('{"items": [{"tags": ["own"]}]}');
-- and nothing stays locked of what was undone
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
ROLLBACK;
BEGIN;
INSERT INTO events (stream, type, data, tags) VALUES ('own-1', 'Own', '{}', '{own}');
SELECT outcome('{"items": [{"tags": ["own"]}]}');
ROLLBACK;
-- also those of the same statement
SELECT evstore.append_if(one('Own', 'own'), '{"items": [{"tags": ["own"]}]}') FROM generate_series(1, 2);
\echo :SQLSTATE
SELECT count(*) FROM (SELECT evstore.append_if(one('Own', 'own'), '{"items": [{"tags": ["other"]}]}') FROM generate_series(1, 2)) a;
SELECT count(*) FROM events WHERE tags @> '{own}';

-- Under every isolation level.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outcome('{"items": [{"tags": ["x:1"]}]}') AS is_there, outcome('{"items": [{"tags": ["none"]}]}') AS is_not;
SELECT version FROM evstore.append_if(one('I', 'iso'), '{"items": [{"tags": ["iso"]}]}');
SELECT outcome('{"items": [{"tags": ["iso"]}]}') AS own;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outcome('{"items": [{"tags": ["iso"]}]}') AS is_there, outcome('{"items": [{"tags": ["none"]}]}') AS is_not;
SELECT version FROM evstore.append_if(one('I', 'iso:2'), '{"items": [{"tags": ["iso:2"]}]}');
SELECT outcome('{"items": [{"tags": ["iso:2"]}]}') AS own;
COMMIT;
BEGIN READ ONLY;
SELECT * FROM evstore.append_if(one('I'), '{"items": [{"tags": ["none"]}]}');
\echo :SQLSTATE
ROLLBACK;

-- What is no query, and what is no append.
CREATE FUNCTION complaint(query jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	PERFORM evstore.append_if(one('Probe'), query);
	RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ': ' || said;
END
$$;
SELECT query, complaint(query::jsonb) FROM (VALUES
	('null'), ('true'), ('1'), ('"items"'), ('[]'), ('[{}]'), ('[{"items": []}]'),
	('{"item": []}'), ('{"Items": [{"tags": ["a"]}]}'), ('{"items": [{"tags": ["a"]}], "after": 1}'),
	('{"types": ["A"]}'), ('{"tags": ["a"]}'),
	('{"items": null}'), ('{"items": {}}'), ('{"items": "a"}'), ('{"items": 1}'), ('{"items": {"tags": ["a"]}}'), ('{"items": []}'),
	('{"items": [null]}'), ('{"items": ["a"]}'), ('{"items": [1]}'), ('{"items": [[]]}'), ('{"items": [[{"tags": ["a"]}]]}'),
	('{"items": [{}]}'), ('{"items": [{"tags": ["none"]}, {}]}'), ('{"items": [{"tags": ["none"]}, 1]}'),
	('{"items": [{"tag": ["a"]}]}'), ('{"items": [{"tags": ["a"], "after": 1}]}'), ('{"items": [{"": ["a"]}]}'),
	('{"items": [{"tags": null}]}'), ('{"items": [{"tags": "a"}]}'), ('{"items": [{"tags": {}}]}'), ('{"items": [{"tags": 1}]}'),
	('{"items": [{"tags": []}]}'), ('{"items": [{"tags": [null]}]}'), ('{"items": [{"tags": [1]}]}'),
	('{"items": [{"tags": [["a"]]}]}'), ('{"items": [{"tags": ["a", {"b": 1}]}]}'), ('{"items": [{"tags": ["a"], "types": []}]}'),
	('{"items": [{"types": null}]}'), ('{"items": [{"types": "A"}]}'), ('{"items": [{"types": []}]}'), ('{"items": [{"types": [true]}]}'),
	('{"items": [{"types": null, "tags": ["a"]}]}')) q (query);
SELECT evstore.append_if(NULL, '{}');
\echo :SQLSTATE
SELECT evstore.append_if('{}', '{}');
\echo :SQLSTATE
SELECT evstore.append_if(one('A'), NULL);
\echo :SQLSTATE
SELECT evstore.append_if(ARRAY[NULL]::evstore.new_event[], '{"items": [{"tags": ["none"]}]}');
\echo :SQLSTATE
SELECT evstore.append_if(ARRAY[one('A')], '{"items": [{"tags": ["none"]}]}');
\echo :SQLSTATE
SELECT evstore.append_if(one(''), '{"items": [{"tags": ["none"]}]}');
\echo :SQLSTATE
SELECT evstore.append_if(one('A', ''), '{"items": [{"tags": ["none"]}]}');
\echo :SQLSTATE
SELECT evstore.append_if(one('A'), '{"items": [{"tags": ["none"]}]}', stream => '');
\echo :SQLSTATE
SELECT evstore.append_if(one('A'), '{"items": [{"tags": ["none"]}]}', event_table => 'pg_class');
\echo :SQLSTATE

-- Another event table: its own events, and the condition is about that table only.
SELECT evstore.create_event_table('others');
SELECT version FROM evstore.append_if(one('A', 'x:1'), '{}', event_table => 'others');
SELECT version FROM evstore.append_if(one('A', 'x:1'), '{}', event_table => 'others');
\echo :SQLSTATE
SET evstore.event_table = 'others';
SELECT version FROM evstore.append_if(one('A', 'x:2'), '{"items": [{"tags": ["x:2"]}]}', stream => 'o-1');
RESET evstore.event_table;
SELECT version, stream, tags FROM others ORDER BY position;

-- A table that takes its events by the executor's INSERT.
ALTER TABLE others ADD CHECK (type <> 'Bad'), ADD COLUMN length integer GENERATED ALWAYS AS (length(type)) STORED;
SELECT version FROM evstore.append_if(one('Abc', 'x:3'), '{"items": [{"tags": ["x:3"]}]}', event_table => 'others');
SELECT version FROM evstore.append_if(one('Abc', 'x:3'), '{"items": [{"tags": ["x:3"]}]}', event_table => 'others');
\echo :SQLSTATE
SELECT version FROM evstore.append_if(one('Bad', 'x:4'), '{"items": [{"tags": ["x:4"]}]}', event_table => 'others');
\echo :SQLSTATE
SELECT version, stream, type, tags, length FROM others ORDER BY position;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append_if CASCADE;
