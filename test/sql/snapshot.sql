-- Snapshots: loading a long stream reads its tail only, and never answers otherwise.

CREATE SCHEMA regress_snapshot;
SET search_path = regress_snapshot;
SELECT evstore.create_event_table();

-- How many events were folded since the last look.
CREATE SEQUENCE calls;
CREATE FUNCTION folded() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint := nextval('calls') - 1;
BEGIN
	PERFORM setval('calls', 1, false);
	RETURN n;
END $$;
CREATE FUNCTION count_up(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('calls');
	RETURN jsonb_build_object('events', (state->>'events')::integer + 1, 'last', e.version, 'type', e.type);
END $$;
SELECT evstore.create_aggregate('counter', 'count_up', '{"events": 0}', snapshot_every => 10);
SELECT regexp_replace(name, '[0-9]+', 'N') AS name, kind, state <> 'failing' AS well FROM evstore.projections;
CREATE PROCEDURE wait_all() LANGUAGE plpgsql AS $$
BEGIN
	IF NOT (SELECT bool_and(evstore.wait_for(name)) FROM evstore.projections) THEN
		RAISE 'a projection does not catch up';
	END IF;
END $$;

-- Taken where a multiple of ten is passed, by whatever step.
SELECT evstore.append('counter-1', 'T', '{}') IS NOT NULL FROM generate_series(1, 9) \g /dev/null
CALL wait_all();
SELECT stream, version FROM evstore._snapshot;
SELECT evstore.append('counter-1', 'T', '{}') IS NOT NULL FROM generate_series(1, 3) \g /dev/null
SELECT version FROM evstore.append('counter-2', (SELECT array_agg(('T', '{}', NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, 25)));
SELECT version FROM evstore.append('other-1', (SELECT array_agg(('T', '{}', NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, 25)));
CALL wait_all();
SELECT stream, version FROM evstore._snapshot WHERE stream = 'counter-2';
SELECT count(*), bool_and(definition_hash IS NOT NULL) FROM evstore._snapshot;
SELECT version FROM evstore.append('counter-2', 'Tail', '{}');
SELECT folded() > 0 AS some;
SELECT state, version FROM evstore.load('counter-2');
SELECT folded();
SELECT state, version FROM evstore.load('counter-2', as_of_version => 25);
SELECT folded();
-- What a snapshot does not reach is folded from the beginning, and times always.
SELECT state, version FROM evstore.load('counter-2', as_of_version => 24);
SELECT folded();
SELECT state, version FROM evstore.load('counter-2', as_of_time => 'infinity');
SELECT folded();
-- In a transaction of one snapshot, and for one's own events.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT version FROM evstore.append('counter-2', 'Mine', '{}');
SELECT state, version FROM evstore.load('counter-2');
ROLLBACK;
SELECT state, version FROM evstore.load('counter-2');

-- Dropping all of them changes no answer.
CREATE TABLE before AS SELECT s.stream, v, l.state, l.version FROM (VALUES ('counter-1'), ('counter-2')) s (stream)
	CROSS JOIN generate_series(0, 27) v CROSS JOIN LATERAL evstore.load(s.stream, as_of_version => v) l;
SELECT evstore.drop_snapshots('counter') > 0 AS dropped;
SELECT count(*) FROM evstore._snapshot;
SELECT count(*), count(*) FILTER (WHERE (l.state, l.version) IS DISTINCT FROM (b.state, b.version)) AS different
FROM before b CROSS JOIN LATERAL evstore.load(b.stream, as_of_version => b.v) l;

-- Another function, initial state or type makes them stale by itself.
SELECT evstore._take_snapshot('counter-2', 'events'), evstore._take_snapshot('counter-2', 'events') AS again, evstore._take_snapshot('counter-none', 'events') AS nothing;
SELECT folded() >= 0 AS reset;
SELECT state, version FROM evstore.load('counter-2');
SELECT folded();
CREATE OR REPLACE FUNCTION count_up(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('calls');
	RETURN jsonb_build_object('events', (state->>'events')::integer + 1, 'anew', true);
END $$;
SELECT state, version FROM evstore.load('counter-2');
SELECT folded();
SELECT evstore._take_snapshot('counter-2', 'events');
SELECT folded();
SELECT state, version FROM evstore.load('counter-2');
SELECT folded();

-- A composite state, and one that is NULL.
CREATE TYPE tally AS (n integer, types text[]);
CREATE FUNCTION tally_up(t tally, e evstore.event) RETURNS tally LANGUAGE sql AS
	$$SELECT (coalesce(t.n, 0) + 1, array_append(t.types, e.type))::tally$$;
SELECT evstore.create_aggregate('tally', 'tally_up', snapshot_every => 1);
SELECT evstore.append('tally-1', 'It''s "quoted", {really}', '{}') IS NOT NULL FROM generate_series(1, 2) \g /dev/null
CALL wait_all();
SELECT stream, version, state FROM evstore._snapshot WHERE stream LIKE 'tally%';
SELECT * FROM evstore.load_as(NULL::tally, 'tally-1');
ALTER TYPE tally ADD ATTRIBUTE added text;
CREATE OR REPLACE FUNCTION tally_up(t tally, e evstore.event) RETURNS tally LANGUAGE sql AS
	$$SELECT (coalesce(t.n, 0) + 1, array_append(t.types, e.type), 'new')::tally$$;
SELECT * FROM evstore.load_as(NULL::tally, 'tally-1');
-- A row that gets another column, alone or within another row, makes an old snapshot useless at once.
CREATE TYPE item AS (sku text, n integer);
CREATE TYPE basket AS (total integer, items item[]);
CREATE FUNCTION basket_add(b basket, e evstore.event) RETURNS basket LANGUAGE plpgsql AS
	$$BEGIN b.total := coalesce(b.total, 0) + 1; b.items := array_append(b.items, jsonb_populate_record(NULL::item, e.data)); RETURN b; END$$;
SELECT evstore.create_aggregate('basket', 'basket_add', snapshot_every => 1);
SELECT evstore.append('basket-1', 'T', '{"sku": "a", "n": 1, "price": 5}') IS NOT NULL AS appended;
CALL wait_all();
SELECT stream, version, state FROM evstore._snapshot WHERE stream LIKE 'basket%';
SELECT * FROM evstore.load_as(NULL::basket, 'basket-1');
ALTER TYPE item ADD ATTRIBUTE price integer;
SELECT * FROM evstore.load_as(NULL::basket, 'basket-1');
SELECT evstore.append('basket-1', 'T', '{"sku": "b", "n": 1, "price": 6}') IS NOT NULL AS appended;
CALL wait_all();
SELECT stream, version, state FROM evstore._snapshot WHERE stream LIKE 'basket%';
ALTER TYPE basket ADD ATTRIBUTE note text;
SELECT * FROM evstore.load_as(NULL::basket, 'basket-1');
SELECT evstore.append('basket-1', 'T', '{"sku": "c", "n": 1, "price": 7}') IS NOT NULL AS appended;
CALL wait_all();
SELECT stream, version, state FROM evstore._snapshot WHERE stream LIKE 'basket%';
CREATE FUNCTION always_null(text, evstore.event) RETURNS text LANGUAGE sql AS 'SELECT NULL';
SELECT evstore.create_aggregate('null', 'always_null', 'x', snapshot_every => 1);
SELECT evstore.append('null-1', 'T', '{}') IS NOT NULL AS appended;
CALL wait_all();
SELECT stream, version, state FROM evstore._snapshot WHERE stream LIKE 'null%';
SELECT state, version FROM evstore.load('null-1');

SELECT category, snapshot_every, snapshots FROM evstore.aggregates ORDER BY category;
-- An event table is dropped after its aggregates; they go although others have dropped what is theirs.
SET client_min_messages = warning;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
RESET search_path;
DROP SCHEMA regress_snapshot CASCADE;
SET search_path = regress_snapshot;
RESET evstore.maintenance;
SELECT evstore.drop_projection(name) FROM evstore.projections WHERE name LIKE '\_snapshots\_%' ORDER BY name LIMIT 1 \g /dev/null
DROP FUNCTION always_null(text, evstore.event) CASCADE;
RESET client_min_messages;
SELECT evstore.drop_aggregate(category) FROM evstore.aggregates ORDER BY category;
SELECT count(*) FROM evstore._snapshot;
SELECT count(*) FROM evstore.projections;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
RESET evstore.maintenance;
SET client_min_messages = warning;
DROP SCHEMA regress_snapshot CASCADE;
