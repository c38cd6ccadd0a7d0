-- evstore.read_by against an oracle that looks at every event: random events,
-- random queries. Conditions are asked the same questions. And which indexes
-- they use.

CREATE SCHEMA regress_read_by;
SET search_path = regress_read_by;
\set VERBOSITY terse
\set SHOW_CONTEXT never

-- Before the first read, nothing has been seen.
SELECT evstore.read_position() IS NULL AS nothing_read;

SELECT evstore.create_event_table();
SELECT count(*) FROM evstore.read_by('{}');
SELECT evstore.read_position() >= 0 AS read;

-- What reading gives: whole events, in order, after a position, so many.
SELECT position AS first FROM evstore.append('s-1', 'A', '{"n": 1}', '{"by": "me"}', tags => '{a,b}') \gset
SELECT version FROM evstore.append('s-2', 'B', '{"n": 2}', tags => '{b}');
SELECT version FROM evstore.append('s-1', 'B', '{"n": 3}');
SELECT version FROM evstore.append_if(
	evstore.events('[{"type": "A", "data": {"n": 4}, "id": "00000000-0000-0000-0000-000000000004", "tags": ["a", "c"]}]'), '{}', :first + 2);
SELECT position - :first AS position, version, schema_version, id, stream, type, data, metadata, tags FROM evstore.read_by('{}');
SELECT count(*) FROM (SELECT (evstore.read_by('{}')).* EXCEPT ALL SELECT * FROM events) e;
SELECT position - :first AS position FROM evstore.read_by('{"items": [{"tags": ["a"]}]}');
SELECT position - :first AS position FROM evstore.read_by('{"items": [{"tags": ["b", "a"]}]}');
SELECT position - :first AS position FROM evstore.read_by('{"items": [{"types": ["A"]}]}');
SELECT position - :first AS position FROM evstore.read_by('{"items": [{"types": ["B"], "tags": ["b"]}]}');
SELECT position - :first AS position FROM evstore.read_by('{"items": [{"tags": ["c"]}, {"tags": ["a"]}, {"types": ["A"]}]}');
SELECT position - :first AS position FROM evstore.read_by('{"items": [{"tags": ["d"]}, {"types": ["a"]}]}');
SELECT position - :first AS position FROM evstore.read_by('{}', :first);
SELECT position - :first AS position FROM evstore.read_by('{}', :first, 2);
SELECT position - :first AS position FROM evstore.read_by('{}', 0, 1);
SELECT count(*) FROM evstore.read_by('{}', NULL, 0);
SELECT count(*) FROM evstore.read_by('{}', :first + 3);
SELECT count(*) FROM evstore.read_by('{}', 9223372036854775807);

-- What is no query; nor a count, nor a position.
SELECT * FROM evstore.read_by(NULL);
\echo :SQLSTATE
SELECT * FROM evstore.read_by('[]');
\echo :SQLSTATE
SELECT * FROM evstore.read_by('{"items": []}');
\echo :SQLSTATE
SELECT * FROM evstore.read_by('{"items": [{}]}');
\echo :SQLSTATE
SELECT * FROM evstore.read_by('{"items": [{"tags": []}]}');
\echo :SQLSTATE
SELECT * FROM evstore.read_by('{}', -1);
\echo :SQLSTATE
SELECT * FROM evstore.read_by('{}', 0, -1);
\echo :SQLSTATE
SELECT * FROM evstore.read_by('{}', event_table => 'pg_class');
\echo :SQLSTATE

-- Committed events only: one's own are not below the safe position before they are.
BEGIN;
SELECT position AS own FROM evstore.append('s-3', 'Own', '{}', tags => '{own}') \gset
SELECT count(*) FROM evstore.read_by('{"items": [{"tags": ["own"]}]}');
SELECT evstore.read_position() < :own AS below;
COMMIT;
SELECT count(*) FROM evstore.read_by('{"items": [{"tags": ["own"]}]}');
SELECT evstore.read_position() >= :own AS read;
-- the other way to read tells its position too
BEGIN;
SELECT position AS next FROM evstore.append('s-3', 'Own', '{}') \gset
SELECT count(*) FROM evstore.read_events(:own);
SELECT evstore.read_position() BETWEEN :own AND :next - 1 AS read;
ROLLBACK;
-- a snapshot that is older than the safe position will not do
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM evstore.read_by('{}');
\echo :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM evstore.read_by('{}');
\echo :SQLSTATE
ROLLBACK;

-- A decision, and what it was decided on: both positions hold.
SELECT max(position) AS last FROM evstore.read_by('{"items": [{"tags": ["a"]}]}') \gset
SELECT evstore.read_position() AS read \gset
SELECT version FROM evstore.append_if('{"(D,{},,,{d},)"}', '{"items": [{"tags": ["a"]}]}', :last);
SELECT version FROM evstore.append_if('{"(D,{},,,{d},)"}', '{"items": [{"tags": ["a"]}]}', :read);
SELECT version FROM evstore.append_if('{"(D,{},,,{d},)"}', '{"items": [{"tags": ["a"]}]}', :last - 1);
\echo :SQLSTATE
SELECT version FROM evstore.append_if('{"(D,{},,,{d},)"}', '{"items": [{"tags": ["d"]}]}', :read);
\echo :SQLSTATE

-- Many random events: 5 types, 30 tags of which some are rare, some events without any.
SELECT evstore.create_event_table('many');
SET evstore.event_table = 'many';
CREATE FUNCTION random_tags(most integer) RETURNS text[] LANGUAGE sql VOLATILE AS $$
	SELECT array_agg('t' || floor(30 * random() * random())::integer) FROM generate_series(1, floor((most + 1) * random())::integer) $$;
CREATE FUNCTION random_item() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	types jsonb := (SELECT jsonb_agg('T' || floor(6 * random())::integer) FROM generate_series(1, floor(4 * random())::integer));
	tags jsonb := to_jsonb(random_tags(3));
BEGIN
	IF types IS NULL AND tags IS NULL THEN
		RETURN random_item();
	END IF;
	RETURN jsonb_strip_nulls(jsonb_build_object('types', types, 'tags', tags));
END
$$;
-- what a query means, word by word
CREATE FUNCTION means(query jsonb, type text, tags text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT NOT query ? 'items' OR EXISTS (
		SELECT FROM jsonb_array_elements(query->'items') item
		WHERE (NOT item ? 'types' OR item->'types' ? type)
			AND NOT EXISTS (
				SELECT FROM jsonb_array_elements_text(CASE WHEN item ? 'tags' THEN item->'tags' ELSE '[]' END) tag
				WHERE tags IS NULL OR tag <> ALL (tags))) $$;
SELECT setseed(0.25);
DO $$
BEGIN
	FOR i IN 1 .. 600 LOOP
		IF random() < 0.5 THEN
			PERFORM evstore.append('s-' || i % 20, 'T' || floor(5 * random())::integer, '{}', tags => random_tags(4));
		ELSIF random() < 0.5 THEN
			INSERT INTO many (stream, type, data, tags)
				VALUES ('s-' || i % 20, 'T' || floor(5 * random())::integer, '{}', random_tags(4));
		ELSE
			PERFORM evstore.append_if(ARRAY[ROW('T' || floor(5 * random())::integer, '{}', NULL, NULL, random_tags(4), NULL)::evstore.new_event],
				'{"items": [{"tags": ["never"]}]}');
		END IF;
	END LOOP;
END
$$;
CREATE TABLE asked (number serial, query jsonb, after bigint);
INSERT INTO asked (query, after)
SELECT CASE WHEN g % 50 = 0 THEN '{}'
		ELSE (SELECT jsonb_build_object('items', jsonb_agg(random_item())) FROM generate_series(1, 1 + g % 4)) END,
	CASE WHEN g % 3 > 0 THEN (SELECT min(position) + floor(650 * random() * (g * 0 + 1))::bigint FROM many) END
FROM generate_series(1, 200) g;

-- Read all, and read page by page, and compare.
CREATE TABLE answers (number integer, expected bigint[], read bigint[], paged bigint[], condition text);
CREATE FUNCTION pages(query jsonb, after bigint, page bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
	got bigint[];
	all_of_them bigint[] := '{}';
BEGIN
	LOOP
		SELECT array_agg(e.position ORDER BY n) INTO got FROM evstore.read_by(query, after, page) WITH ORDINALITY e
			(position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags, n);
		EXIT WHEN got IS NULL;
		all_of_them := all_of_them || got;
		after := got[array_upper(got, 1)];
		EXIT WHEN array_length(got, 1) < page;
	END LOOP;
	RETURN all_of_them;
END
$$;
-- the condition's answer; if it holds, the event is taken back
CREATE FUNCTION condition(query jsonb, after bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.append_if('{"(Probe,{},,,,)"}', query, after);
	RAISE EXCEPTION 'undo' USING ERRCODE = 'P0002';
EXCEPTION
	WHEN no_data_found THEN RETURN 'holds';
	WHEN SQLSTATE 'VE004' THEN RETURN 'forbidden';
END
$$;
DO $$
DECLARE
	a asked;
BEGIN
	FOR a IN SELECT * FROM asked ORDER BY number LOOP
		INSERT INTO answers SELECT a.number,
			coalesce((SELECT array_agg(position ORDER BY position) FROM many
				WHERE position > coalesce(a.after, 0) AND means(a.query, type, tags)), '{}'),
			coalesce((SELECT array_agg(e.position ORDER BY n) FROM evstore.read_by(a.query, a.after) WITH ORDINALITY e
				(position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags, n)), '{}'),
			pages(a.query, a.after, 1 + a.number * 7 % 100);
		COMMIT;
		UPDATE answers SET condition = condition(a.query, a.after) WHERE number = a.number;
		COMMIT;
	END LOOP;
END
$$;
SELECT count(*) AS asked, count(*) FILTER (WHERE read = expected) AS read_right, count(*) FILTER (WHERE paged = expected) AS paged_right,
	count(*) FILTER (WHERE (condition = 'holds') = (expected = '{}')) AS condition_right
FROM answers;
SELECT number, query, after, expected, read, paged, condition FROM asked JOIN answers USING (number)
WHERE read <> expected OR paged <> expected OR (condition = 'holds') <> (expected = '{}') ORDER BY number LIMIT 3;
-- the questions are worth something: many have an answer, many have none, and the answers differ
SELECT count(*) FILTER (WHERE expected = '{}') > 10 AS some_empty, count(*) FILTER (WHERE condition = 'holds') > 10 AS some_hold,
	count(DISTINCT expected) > 100 AS differ, max(array_length(expected, 1)) = (SELECT count(*) FROM many) AS all_of_them
FROM answers;
RESET evstore.event_table;

-- How they are found: by the index on tags, or by the primary key from "after"
-- on, and so by looking at few of the events. The counters are those of the
-- transaction; "looked" is given for its size only, as the planner looks as well.
SELECT evstore.create_event_table('big');
DO $$
BEGIN
	PERFORM evstore.append('s-' || n, (
			SELECT array_agg(ROW('T', '{}', NULL, NULL, CASE WHEN g % 2 = 0 THEN ARRAY['one:' || g, 'half'] END, NULL)::evstore.new_event)
			FROM generate_series(1000 * n + 1, 1000 * n + 1000) g), event_table => 'big')
		FROM generate_series(0, 9) n;
END
$$;
VACUUM ANALYZE big;
SELECT max(position) AS last FROM big \gset
CREATE FUNCTION work(OUT tags bigint, OUT sequential bigint, OUT looked bigint) LANGUAGE sql VOLATILE AS $$
	SELECT pg_stat_get_xact_numscans('big_tags_idx'::regclass), pg_stat_get_xact_numscans('big'::regclass),
		pg_stat_get_xact_tuples_returned('big'::regclass) + pg_stat_get_xact_tuples_fetched('big'::regclass)
			+ (SELECT sum(pg_stat_get_xact_tuples_fetched(indexrelid)) FROM pg_index WHERE indrelid = 'big'::regclass) $$;
CREATE FUNCTION work_of(query jsonb, after bigint DEFAULT NULL)
RETURNS TABLE (what text, answer text, by_tags boolean, sequential bigint, looked_at_few boolean) LANGUAGE plpgsql AS $$
DECLARE
	before record;
BEGIN
	before := work();
	SELECT 'read', count(*) || ' events' INTO what, answer FROM evstore.read_by(query, after, event_table => 'big');
	SELECT w.tags > before.tags, w.sequential - before.sequential, w.looked - before.looked < 50
		INTO by_tags, sequential, looked_at_few FROM work() w;
	RETURN NEXT;
	before := work();
	BEGIN
		what := 'condition';
		answer := 'holds';
		PERFORM evstore.append_if('{"(U,{},,,,)"}', query, after, event_table => 'big');
	EXCEPTION WHEN SQLSTATE 'VE004' THEN
		answer := SQLSTATE;
	END;
	SELECT w.tags > before.tags, w.sequential - before.sequential, w.looked - before.looked < 50
		INTO by_tags, sequential, looked_at_few FROM work() w;
	RETURN NEXT;
END
$$;
-- one tag in the whole table, or none, or any of several
SELECT * FROM work_of('{"items": [{"tags": ["one:5000"]}]}');
SELECT * FROM work_of('{"items": [{"tags": ["one:0"]}]}');
SELECT * FROM work_of('{"items": [{"tags": ["half", "one:5000"]}]}');
SELECT * FROM work_of('{"items": [{"types": ["T"], "tags": ["one:5000"]}, {"types": ["T", "U"], "tags": ["one:6000"]}]}');
-- a tag of every other event, a type, everything: from a late position on
SELECT * FROM work_of('{"items": [{"tags": ["half"]}]}', :last);
SELECT * FROM work_of('{"items": [{"types": ["T"]}]}', :last);
SELECT * FROM work_of('{"items": [{"types": ["T"]}]}', :last - 10);
SELECT * FROM work_of('{}', :last - 10);
-- this one must look at all
SELECT what, answer, looked_at_few FROM work_of('{"items": [{"types": ["V"]}]}');

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_read_by CASCADE;
