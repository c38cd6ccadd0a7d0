-- Handlers: functions called once for every event, in order.

CREATE SCHEMA regress_projection_handler;
SET search_path = regress_projection_handler;
SELECT evstore.create_event_table();

-- One function for all events, by its name.
CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, stream text, version bigint, type text, data jsonb, earlier bigint);
CREATE FUNCTION see(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (stream, version, type, data, earlier)
	VALUES (e.stream, e.version, e.type, e.data, (SELECT count(*) FROM seen));
END $$;
SELECT version FROM evstore.append('order-1', evstore.events('[
	{"type": "OrderPlaced", "data": {"total": 10}}, {"type": "OrderPaid", "data": {}}]'));
SELECT evstore.create_projection('seen', handler => 'see', batch_size => 2);
SELECT version FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPlaced", "data": {"total": 20}}, {"type": "OrderPlaced", "data": null}, {"type": "OrderShipped", "data": [1, 2]}]'));
SELECT evstore.wait_for('seen');
-- Each once, in order, and each sees what was done for those before it.
SELECT * FROM seen ORDER BY n;
SELECT name, kind, mode, state, read_table FROM evstore.projections;

-- A map from types to functions; other types go by. Any language, any result.
CREATE TABLE balance (stream text PRIMARY KEY, amount numeric NOT NULL);
CREATE FUNCTION deposited(evstore.event) RETURNS numeric LANGUAGE sql AS $$
	INSERT INTO balance VALUES ($1.stream, ($1.data->>'amount')::numeric)
	ON CONFLICT (stream) DO UPDATE SET amount = balance.amount + excluded.amount RETURNING amount $$;
CREATE FUNCTION withdrawn(evstore.event) RETURNS balance LANGUAGE plpgsql AS $$
DECLARE
	changed balance;
BEGIN
	UPDATE balance SET amount = amount - ($1.data->>'amount')::numeric WHERE stream = $1.stream RETURNING * INTO changed;
	RETURN changed;
END $$;
SELECT evstore.create_projection('balance', read_table => 'balance',
	handlers => '{"Deposited": "deposited", "It''s withdrawn": "regress_projection_handler.withdrawn(evstore.event)"}');
SELECT version FROM evstore.append('account-1', evstore.events('[
	{"type": "Deposited", "data": {"amount": 100}}, {"type": "It''s withdrawn", "data": {"amount": 30}},
	{"type": "Closed", "data": {}}, {"type": "Deposited", "data": {"amount": 0.5}}]'));
SELECT evstore.wait_for('balance');
TABLE balance;

-- A process manager: a handler appends events of its own, exactly once.
CREATE FUNCTION ship(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.append('shipment-' || e.stream, 'ShipmentRequested', jsonb_build_object('position', e.position));
END $$;
SELECT evstore.create_projection('ship', handlers => '{"OrderPaid": "ship"}');
SELECT evstore.wait_for('ship');
SELECT version FROM evstore.append('order-3', 'OrderPaid', '{}');
SELECT evstore.wait_for('ship');
SELECT s.stream, s.version, s.type, e.stream AS because_of
FROM events s JOIN events e ON e.position = (s.data->>'position')::bigint WHERE s.type = 'ShipmentRequested' ORDER BY s.position;

-- The functions may be renamed, and cannot go while they are needed.
ALTER FUNCTION see(evstore.event) RENAME TO look;
SELECT version FROM evstore.append('order-2', 'OrderLost', '{}');
SELECT evstore.wait_for('seen');
SELECT type FROM seen WHERE stream = 'order-2' ORDER BY n;
\set VERBOSITY terse
DROP FUNCTION look(evstore.event);
\set VERBOSITY default
SELECT evstore.drop_projection('seen');
DROP FUNCTION look(evstore.event);
SELECT count(*) > 0 AS kept FROM seen;

-- What it appended belongs to the batch: an error takes both back, and nothing is done twice.
CREATE TABLE brake (on_hold boolean);
INSERT INTO brake VALUES (true);
CREATE FUNCTION note(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.append('note-1', 'Noted', jsonb_build_object('of', e.stream));
	IF (SELECT on_hold FROM brake) THEN
		RAISE EXCEPTION 'not yet';
	END IF;
END $$;
SELECT evstore.create_projection('note', handlers => '{"OrderLost": "note"}');
CREATE FUNCTION until_failed(projection text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	error text;
BEGIN
	LOOP
		SELECT regexp_replace(last_error, '\d+', 'N', 'g') INTO error FROM evstore.projections WHERE name = projection AND failures > 0;
		EXIT WHEN FOUND;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN error;
END $$;
SELECT until_failed('note');
SELECT count(*) FROM events WHERE type = 'Noted';
UPDATE brake SET on_hold = false;
SELECT evstore.wait_for('note');
SELECT count(*) FROM events WHERE type = 'Noted';

-- Refused.
CREATE FUNCTION of_text(text) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION of_set(evstore.event) RETURNS SETOF integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION of_now(evstore.event) RETURNS integer LANGUAGE sql STABLE AS 'SELECT 1';
CREATE FUNCTION of_two(evstore.event, integer DEFAULT 1) RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE of_call(evstore.event) LANGUAGE sql AS '';
\set VERBOSITY terse
SELECT evstore.create_projection('x', handler => 'of_nothing');
SELECT evstore.create_projection('x', handler => 'of_nothing(evstore.event)');
SELECT evstore.create_projection('x', handler => 'of_text');
SELECT evstore.create_projection('x', handler => 'of_text(text)');
SELECT evstore.create_projection('x', handler => 'of_set');
SELECT evstore.create_projection('x', handler => 'of_now');
SELECT evstore.create_projection('x', handler => 'of_two(evstore.event, integer)');
SELECT evstore.create_projection('x', handler => 'of_call');
SELECT evstore.create_projection('x', handler => 'withdrawn; DROP TABLE seen');
SELECT evstore.create_projection('x', handler => '');
SELECT evstore.create_projection('x', handlers => '{}');
SELECT evstore.create_projection('x', handlers => '["withdrawn"]');
SELECT evstore.create_projection('x', handlers => '"withdrawn"');
SELECT evstore.create_projection('x', handlers => '{"A": "withdrawn", "B": 1}');
SELECT evstore.create_projection('x', handlers => '{"A": "withdrawn", "B": null}');
SELECT evstore.create_projection('x', handlers => '{"A": ["withdrawn"]}');
SELECT evstore.create_projection('x', handler => 'withdrawn', handlers => '{"A": "withdrawn"}');
SELECT evstore.create_projection('x', handler => 'withdrawn', query => 'SELECT 1');
SELECT evstore.create_projection('x');
SELECT evstore.create_projection('x', handler => 'withdrawn', event_table => 'balance');
SELECT evstore.create_projection('x', handler => 'withdrawn', batch_size => 0);
\set VERBOSITY default

-- What a handler declares, or has built anew, begins without the batch that is being applied.
CREATE FUNCTION declares(e evstore.event) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM evstore.create_projection('total', read_table => 'regress_projection_handler.total', query => 'SELECT count(*) AS n FROM events');
	PERFORM evstore.rebuild_projection('types');
	CREATE TABLE made (n integer);
END
$$;
SELECT evstore.create_projection('types', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT evstore.create_projection('declares', handlers => '{"Declared": "declares"}');
SELECT version FROM evstore.append('declared', 'Declared', '{}');
SELECT evstore.wait_for('declares');
SELECT evstore.wait_for('total');
DO $$ BEGIN FOR i IN 1..6000 LOOP EXIT WHEN NOT EXISTS (SELECT FROM evstore.rebuild_progress WHERE projection = 'types'); PERFORM pg_sleep(0.01); COMMIT; END LOOP; END $$;
SELECT * FROM evstore.verify_projection('total');
SELECT * FROM evstore.verify_projection('types');
-- and what it makes stands where its declaration would have made it
SELECT 'made'::regclass;
SELECT evstore.drop_projection(name) FROM unnest('{declares,total,types}'::text[]) name;

-- The owner must be allowed to read the events, and to call it.
CREATE ROLE regress_handler_owner;
GRANT USAGE ON SCHEMA regress_projection_handler TO regress_handler_owner;
REVOKE EXECUTE ON FUNCTION withdrawn(evstore.event) FROM PUBLIC;
\set VERBOSITY terse
SET ROLE regress_handler_owner;
SELECT evstore.create_projection('x', handler => 'withdrawn');
RESET ROLE;
GRANT SELECT ON events TO regress_handler_owner;
SET ROLE regress_handler_owner;
SELECT evstore.create_projection('x', handler => 'withdrawn');
RESET ROLE;
GRANT EXECUTE ON FUNCTION withdrawn(evstore.event) TO regress_handler_owner;
SET ROLE regress_handler_owner;
SELECT evstore.create_projection('x', handler => 'withdrawn');
SELECT evstore.drop_projection('x');
RESET ROLE;

SELECT evstore.drop_projection(name) FROM evstore.projections WHERE name IN ('balance', 'ship', 'note') ORDER BY name;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
RESET evstore.maintenance;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA regress_projection_handler CASCADE;
DROP ROLE regress_handler_owner;
