-- Upcasters: old events are read in the newest shape of their type; the table keeps what was written.

CREATE SCHEMA regress_upcaster;
SET search_path = regress_upcaster;
\set SHOW_CONTEXT never
SELECT evstore.create_event_table();
SELECT version FROM evstore.append('order-1', evstore.events('[
	{"type": "OrderPlaced", "data": {"total": "40.50", "region": "north"}, "tags": ["vip"]},
	{"type": "OrderShipped", "data": {}}]'));
SELECT position AS third FROM evstore.append('order-2', 'OrderPlaced', '{"total": "2", "region": "south"}') \gset

-- Readers of every kind, from before the first upcaster.
CREATE FUNCTION tally(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT coalesce(state, '[]') || jsonb_build_array(concat_ws(' ', e.type, e.schema_version, e.data)) $$;
SELECT evstore.create_aggregate('order', 'tally', snapshot_every => 2);
SELECT evstore.create_projection('by_query', query =>
	$$SELECT type, count(*) AS n, sum((data->>'amount')::numeric) AS amount, evstore.last(data->>'place', position) AS place FROM events GROUP BY type$$);
CREATE TABLE by_statement (position bigint, type text, schema_version integer, data jsonb);
SELECT evstore.create_projection('by_statement', statement =>
	'INSERT INTO by_statement SELECT position, type, schema_version, data FROM new_events', read_table => 'by_statement');
CREATE TABLE by_handler (LIKE by_statement, n serial);
CREATE FUNCTION handle(e evstore.event) RETURNS void LANGUAGE plpgsql AS
	'BEGIN INSERT INTO by_handler VALUES (e.position, e.type, e.schema_version, e.data); END';
SELECT evstore.create_projection('by_handler', handler => 'handle', read_table => 'by_handler');
SELECT evstore.create_projection('inline', mode => 'inline', query =>
	$$SELECT stream, count(*) AS n, sum((data->>'amount')::numeric) AS amount FROM events WHERE type <> 'OrderShipped' GROUP BY stream$$);
SELECT evstore.wait_for_all();
SELECT state FROM evstore.load('order-1');

-- Of data: total becomes an amount, a number.
CREATE FUNCTION order_placed_2(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
	$$SELECT data - 'total' || jsonb_build_object('amount', (data->>'total')::numeric)$$;
SELECT evstore.create_upcaster('OrderPlaced', 1, 'order_placed_2');
SELECT version, schema_version, type, data, tags FROM evstore.read_stream('order-1');
SELECT stream, schema_version, data FROM evstore.read_events(types => '{OrderPlaced}');
SELECT stream, schema_version, data FROM evstore.read_by('{"items": [{"types": ["OrderPlaced"], "tags": ["vip"]}]}');
SELECT schema_version, data FROM events ORDER BY position;
SET evstore.raw = on;
SELECT schema_version, data FROM evstore.read_stream('order-1', backwards => true);
SELECT schema_version, data FROM evstore.read_events();
SELECT schema_version, data FROM evstore.read_by('{"items": [{"tags": ["vip"]}]}');
-- The state of a stream is never a matter of the setting; its snapshot is not of that shape any more.
SELECT state FROM evstore.load('order-1');
RESET evstore.raw;
SELECT state FROM evstore.load('order-1', as_of_version => 1);
SELECT evstore.load_as(NULL::jsonb, 'order-1');

-- What comes in the old shape is read in the new one at once, by all.
SELECT version FROM evstore.append('order-3', 'OrderPlaced', '{"total": "7", "region": "north"}');
SELECT version FROM evstore.append('order-3', 'OrderPlaced', '{"amount": 8, "region": "north"}', schema_version => 2);
SELECT n, amount FROM inline WHERE stream = 'order-3';
SELECT evstore.wait_for_all();
SELECT type, n, amount FROM by_query ORDER BY type;
SELECT type, schema_version, data FROM by_statement WHERE position > :third ORDER BY position;
SELECT type, schema_version, data FROM by_handler WHERE position > :third ORDER BY position;
SELECT state FROM evstore.load('order-3');
-- What was applied before is told apart, and mended by a rebuild.
SELECT key, expected->'amount' AS expected, actual->'amount' AS actual FROM evstore.verify_projection('by_query');
SELECT evstore.rebuild_projection(name) FROM unnest('{by_query,by_statement,by_handler}'::text[]) name;
CREATE FUNCTION rebuilt() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..6000 LOOP
		IF NOT EXISTS (SELECT FROM evstore.rebuild_progress) THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;
SELECT rebuilt();
SELECT * FROM evstore.verify_projection('by_query');
SELECT type, n, amount FROM by_query ORDER BY type;
SELECT type, schema_version, data FROM by_statement ORDER BY position;
SELECT type, schema_version, data FROM by_handler ORDER BY position;
SELECT type, n, amount FROM evstore.projection_as_of(NULL::by_query, :third) ORDER BY type;

-- A chain, in PL/pgSQL; declared afterwards, a projection reads the same.
CREATE FUNCTION order_placed_3(data jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RETURN data - 'region' || jsonb_build_object('place', jsonb_build_object('region', data->'region')); END$$;
SELECT evstore.create_upcaster('OrderPlaced', 2, 'order_placed_3(jsonb)');
SELECT evstore.create_projection('later', query =>
	$$SELECT data->'place'->>'region' AS region, count(*) AS n, sum((data->>'amount')::numeric) AS amount FROM events WHERE type = 'OrderPlaced' GROUP BY 1$$);
SELECT evstore.wait_for('later');
SELECT * FROM later ORDER BY region;
SELECT event_table, type, from_version, function FROM evstore.upcasters ORDER BY type, from_version;

-- Of events: renamed, split into several, or left out.
CREATE FUNCTION renamed(e evstore.event) RETURNS evstore.event LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	e.type := 'ParcelSent';
	e.schema_version := 1;
	e.metadata := '{"upcast": true}';
	-- what an event is called, and where it stands, stays
	e.position := 99; e.version := 99; e.stream := 'x'; e.recorded_at := 'infinity'; e.id := '00000000-0000-0000-0000-000000000099';
	RETURN e;
END $$;
SELECT evstore.create_upcaster('OrderShipped', 1, 'renamed');
SELECT version FROM evstore.append('order-4', evstore.events('[
	{"type": "OrderPlaced", "data": {"total": "1", "region": "east"}}, {"type": "CustomerMoved", "data": {"from": "a", "to": "b"}},
	{"type": "Ping", "data": {}}, {"type": "OrderShipped", "data": {}}]'));
SELECT evstore.wait_for_all();
CREATE FUNCTION split(e evstore.event) RETURNS SETOF evstore.event LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	data jsonb = e.data;
BEGIN
	e.type := 'CustomerLeft'; e.data := jsonb_build_object('place', data->'from');
	RETURN NEXT e;
	e.type := 'CustomerArrived'; e.data := jsonb_build_object('place', data->'to');
	RETURN NEXT e;
END $$;
SELECT evstore.create_upcaster('CustomerMoved', 1, 'split');
CREATE FUNCTION left_out(e evstore.event) RETURNS SETOF evstore.event LANGUAGE sql IMMUTABLE AS 'SELECT e WHERE false';
SELECT evstore.create_upcaster('Ping', 1, 'left_out');
SELECT version, type, schema_version, data, metadata, position <> 99 AND id IS NULL AND isfinite(recorded_at) AS kept FROM evstore.read_stream('order-4');
SELECT version, type FROM evstore.read_stream('order-4', from_version => 2, max_count => 1);
SELECT version, type FROM evstore.read_stream('order-4', backwards => true, max_count => 2);
SELECT version, type FROM evstore.read_stream('order-4', 3, backwards => true);
SELECT type FROM evstore.read_events(types => '{CustomerArrived,CustomerMoved,Ping,ParcelSent}');
-- Criteria are about events as they were written, as conditions are.
SELECT type FROM evstore.read_by('{"items": [{"types": ["CustomerMoved"]}]}');
SELECT type FROM evstore.read_by('{"items": [{"types": ["CustomerArrived"]}]}');
SELECT state, version FROM evstore.load('order-4');
SELECT evstore.wait_for_all();
SELECT type, n FROM by_query ORDER BY type;
SELECT type, schema_version FROM by_handler WHERE n > (SELECT max(n) - 4 FROM by_handler) ORDER BY n;
SELECT n, amount FROM inline WHERE stream = 'order-4';
-- A map of handlers is asked by the newest type.
CREATE FUNCTION arrived(e evstore.event) RETURNS void LANGUAGE plpgsql AS
	$$BEGIN PERFORM evstore.append('greeting-1', 'Greeted', e.data); END$$;
SELECT evstore.create_projection('greeter', handlers => '{"CustomerArrived": "arrived"}');
SELECT evstore.wait_for('greeter');
SELECT data FROM events WHERE type = 'Greeted';
-- Split events go on along their own chains.
CREATE FUNCTION arrived_2(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"at": "noon"}'$$;
SELECT evstore.create_upcaster('CustomerArrived', 1, 'arrived_2');
SELECT type, schema_version, data FROM evstore.read_stream('order-4', 2, 2);

-- By every cut of the log, the same as the query over all upcast events.
CREATE VIEW truth AS
	SELECT type, count(*) AS n, sum((data->>'amount')::numeric) AS amount FROM evstore.read_events() WHERE stream <> 'greeting-1' GROUP BY type;
DO $$
BEGIN
	FOR size IN 1..4 LOOP
		PERFORM evstore.create_projection('cut_' || size, query =>
			'SELECT type, count(*) AS n, sum((data->>''amount'')::numeric) AS amount FROM events WHERE stream <> ''greeting-1'' GROUP BY type', batch_size => size);
	END LOOP;
END $$;
SELECT evstore.wait_for_all();
SELECT size, (SELECT count(*) FROM (
	(SELECT * FROM truth EXCEPT ALL SELECT type, n, amount FROM cut_1) UNION ALL (SELECT type, n, amount FROM cut_2 EXCEPT ALL SELECT * FROM truth)
	UNION ALL (SELECT * FROM truth EXCEPT ALL SELECT type, n, amount FROM cut_3) UNION ALL (SELECT type, n, amount FROM cut_4 EXCEPT ALL SELECT * FROM truth)) d) AS differ
FROM (VALUES ('all')) s(size);
SELECT count(*) FROM evstore.verify_projection('cut_1');

-- An error of an upcaster is the event's, as far as projections go.
CREATE OR REPLACE FUNCTION arrived_2(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || jsonb_build_object('nr', (data->>'place')::integer)$$;
SELECT type FROM evstore.read_stream('order-4');
\echo :SQLSTATE
CREATE OR REPLACE FUNCTION arrived_2(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT NULL::jsonb$$;
SELECT type FROM evstore.read_stream('order-4');
\echo :SQLSTATE
SELECT evstore.drop_upcaster('CustomerArrived', 1);

-- A new one is tried on what is there.
SELECT version FROM evstore.append('order-5', 'CustomerArrived', '{}');
SELECT evstore.create_upcaster('CustomerArrived', 1, 'arrived_2');
\echo :SQLSTATE
CREATE FUNCTION backwards(e evstore.event) RETURNS evstore.event LANGUAGE plpgsql IMMUTABLE AS 'BEGIN e.schema_version := 0; RETURN e; END';
SELECT evstore.create_upcaster('CustomerArrived', 1, 'backwards');
CREATE FUNCTION too_far(e evstore.event) RETURNS evstore.event LANGUAGE plpgsql IMMUTABLE AS 'BEGIN e.schema_version := 3; RETURN e; END';
SELECT evstore.create_upcaster('CustomerArrived', 1, 'too_far');
CREATE FUNCTION nowhere(e evstore.event) RETURNS evstore.event LANGUAGE plpgsql IMMUTABLE AS $$BEGIN e.type := 'Other'; e.schema_version := 2; RETURN e; END$$;
SELECT evstore.create_upcaster('CustomerArrived', 1, 'nowhere');
CREATE FUNCTION untyped(e evstore.event) RETURNS evstore.event LANGUAGE plpgsql IMMUTABLE AS $$BEGIN e.type := NULL; RETURN e; END$$;
SELECT evstore.create_upcaster('CustomerArrived', 1, 'untyped');
CREATE FUNCTION there(e evstore.event) RETURNS evstore.event LANGUAGE plpgsql IMMUTABLE AS $$BEGIN e.type := 'There'; RETURN e; END$$;
CREATE FUNCTION and_back(e evstore.event) RETURNS SETOF evstore.event LANGUAGE sql IMMUTABLE AS
	$$SELECT e.position, e.version, e.recorded_at, 1, e.id, e.stream, 'CustomerArrived', e.data, e.metadata, e.tags$$;
SELECT evstore.create_upcaster('There', 1, 'and_back');
SELECT evstore.create_upcaster('CustomerArrived', 1, 'there');
\echo :SQLSTATE
SELECT evstore.drop_upcaster('There', 1);

-- What cannot be declared.
CREATE FUNCTION volatile_2(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RETURN data; END';
CREATE FUNCTION of_text(data text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT data';
CREATE FUNCTION to_data(e evstore.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT e.data';
CREATE FUNCTION set_of_data(data jsonb) RETURNS SETOF jsonb LANGUAGE sql IMMUTABLE AS 'SELECT data';
CREATE FUNCTION two_ways(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT data';
CREATE FUNCTION two_ways(e evstore.event) RETURNS evstore.event LANGUAGE sql IMMUTABLE AS 'SELECT e';
CREATE TABLE plain (x integer);
SELECT evstore.create_upcaster('X', 1, 'volatile_2');
\echo :SQLSTATE
SELECT evstore.create_upcaster('X', 1, 'of_text');
\echo :SQLSTATE
SELECT evstore.create_upcaster('X', 1, 'of_text(text)');
SELECT evstore.create_upcaster('X', 1, 'to_data');
SELECT evstore.create_upcaster('X', 1, 'set_of_data');
SELECT evstore.create_upcaster('X', 1, 'two_ways');
\echo :SQLSTATE
SELECT evstore.create_upcaster('X', 1, 'no_such(jsonb)');
-- A link that is missing, or there already.
SELECT evstore.create_upcaster('X', 2, 'arrived_2');
\echo :SQLSTATE
SELECT evstore.create_upcaster('OrderPlaced', 4, 'order_placed_3');
SELECT evstore.create_upcaster('OrderPlaced', 1, 'order_placed_2');
\echo :SQLSTATE
SELECT evstore.create_upcaster('X', 0, 'arrived_2');
SELECT evstore.create_upcaster('X', NULL, 'arrived_2');
SELECT evstore.create_upcaster(NULL, 1, 'arrived_2');
SELECT evstore.create_upcaster('', 1, 'arrived_2');
SELECT evstore.create_upcaster('X', 1, NULL);
SELECT evstore.create_upcaster('X', 1, 'arrived_2', 'plain');
SELECT evstore.drop_upcaster('OrderPlaced', 1);
\echo :SQLSTATE
SELECT evstore.drop_upcaster('X', 1);
SELECT evstore.create_event_type('OrderPlaced', 3);
SELECT evstore.drop_upcaster('OrderPlaced', 2);
\echo :SQLSTATE
SELECT evstore.drop_event_type('OrderPlaced', 3);
-- What is in use stays.
\set VERBOSITY terse
DROP FUNCTION order_placed_2(jsonb);
\set VERBOSITY default
ALTER FUNCTION order_placed_2(jsonb) RENAME TO in_amounts;
SELECT count(*) FROM evstore.read_stream('order-1');
BEGIN;
SET LOCAL client_min_messages = warning;
DROP FUNCTION in_amounts(jsonb) CASCADE;
SELECT count(data) FROM evstore.read_stream('order-1');
ROLLBACK;
-- Columns that were added are not everybody's.
ALTER TABLE events ADD COLUMN region text;
\set VERBOSITY terse
SELECT evstore.create_projection('of_region', query => 'SELECT region, count(*) AS n FROM events GROUP BY region');
\set VERBOSITY default

-- Rolled back, it was never there.
BEGIN;
SELECT evstore.drop_upcaster('OrderPlaced', 2);
SELECT data FROM evstore.read_stream('order-2');
ROLLBACK;
SELECT data FROM evstore.read_stream('order-2');

-- An upcaster is its owner's code, whoever reads; and only who may read the events has it run.
CREATE ROLE regress_upcaster_owner;
CREATE ROLE regress_upcaster_reader;
GRANT USAGE, CREATE ON SCHEMA regress_upcaster TO regress_upcaster_owner;
GRANT USAGE ON SCHEMA regress_upcaster TO regress_upcaster_reader;
SET ROLE regress_upcaster_owner;
SELECT evstore.create_event_table('owned');
CREATE TABLE names (id integer, name text);
INSERT INTO names VALUES (1, 'ann');
CREATE FUNCTION with_name(data jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN jsonb_build_object('name', (SELECT name FROM names WHERE id = (data->>'id')::integer), 'by', current_user);
END $$;
REVOKE EXECUTE ON FUNCTION with_name(jsonb) FROM PUBLIC;
SELECT version FROM evstore.append('a-1', 'Named', '{"id": 1}', event_table => 'owned');
SELECT evstore.create_upcaster('Named', 1, 'with_name', 'owned');
SET ROLE regress_upcaster_reader;
SET search_path = pg_catalog;
SELECT data FROM evstore.read_stream('a-1', event_table => 'regress_upcaster.owned');
SELECT evstore._upcast_data('regress_upcaster.owned'::regclass, 1, 'Named', 1, '{"id": 1}');
RESET ROLE;
GRANT SELECT ON regress_upcaster.owned TO regress_upcaster_reader;
SET ROLE regress_upcaster_reader;
SELECT data FROM evstore.read_stream('a-1', event_table => 'regress_upcaster.owned');
SELECT current_user;
SELECT evstore.create_upcaster('Named', 2, 'jsonb_strip_nulls', 'regress_upcaster.owned');
SELECT evstore.drop_upcaster('Named', 1, 'regress_upcaster.owned');
RESET ROLE;
SET search_path = regress_upcaster;

-- Gone, everything reads the table again.
SET client_min_messages = warning;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('owned');
SELECT evstore.drop_upcaster('Named', 1, 'owned');
SELECT evstore.drop_event_table('owned');
SELECT evstore.drop_upcaster(type, from_version) FROM (SELECT * FROM evstore.upcasters ORDER BY from_version DESC) u;
SELECT count(*) FROM evstore.upcasters;
SELECT relname FROM pg_class WHERE relnamespace = 'evstore'::regnamespace AND relname ~ '^_upcast(er)?_[0-9]';
SELECT count(*) FROM pg_views WHERE definition LIKE '%\_upcast\_%' AND schemaname <> 'pg_catalog';
SELECT type, schema_version, data FROM evstore.read_stream('order-4');
SELECT version FROM evstore.append('order-9', 'OrderPlaced', '{"amount": 1}');
SELECT evstore.wait_for_all();
SELECT type, data FROM by_handler WHERE type <> 'Greeted' ORDER BY n DESC LIMIT 1;
SELECT evstore.drop_projection(name) FROM evstore.projections WHERE event_table = 'events'::regclass AND name NOT LIKE '\_snapshots%';
SELECT evstore.drop_aggregate('order');
RESET search_path;
DROP SCHEMA regress_upcaster CASCADE;
DROP ROLE regress_upcaster_owner, regress_upcaster_reader;
