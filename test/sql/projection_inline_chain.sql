-- Inline projections that append: each event once, in order, no recursion.

\set SHOW_CONTEXT never
CREATE SCHEMA regress_inline_chain;
SET search_path = regress_inline_chain;
SELECT evstore.create_event_table();
SELECT evstore.create_event_table('audit');

-- Two handlers on one table, one of which appends to it, and one on another table, which answers to the first.
CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, by text, stream text, type text);
CREATE FUNCTION see(e evstore.event) RETURNS void LANGUAGE sql AS $$
	INSERT INTO seen (by, stream, type) VALUES ('see', e.stream, e.type) $$;
CREATE FUNCTION ship(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (by, stream, type) VALUES ('ship', e.stream, e.type);
	IF e.type = 'Paid' THEN
		PERFORM evstore.append('shipment-' || e.stream, 'Requested', '{}');
		PERFORM evstore.append(e.stream, 'Confirmed', '{}');
		INSERT INTO events (stream, type, data) VALUES ('log', 'Written', '{}');
		PERFORM evstore.append('audit', 'Audited', '{}', event_table => 'audit');
		INSERT INTO seen (by, stream, type) VALUES ('ship', e.stream, 'after appending');
	END IF;
END $$;
CREATE FUNCTION audit(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen (by, stream, type) VALUES ('audit', e.stream, e.type);
	PERFORM evstore.append('audits', 'Noted', '{}');
END $$;
SELECT evstore.create_projection('ship', mode => 'inline', handler => 'ship');
SELECT evstore.create_projection('see', mode => 'inline', handler => 'see');
SELECT evstore.create_projection('audit', mode => 'inline', handler => 'audit', event_table => 'audit');
SELECT evstore.create_projection('types', mode => 'inline', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT version FROM evstore.append('order-1', evstore.events('[{"type": "Placed", "data": {}}, {"type": "Paid", "data": {}}, {"type": "Closed", "data": {}}]'));
SELECT stream, version, type FROM events ORDER BY position;
SELECT by, stream, type FROM seen ORDER BY n;
SELECT * FROM types ORDER BY type;

-- The same by INSERT, of several at once.
TRUNCATE seen;
INSERT INTO events (stream, type, data) VALUES ('order-2', 'Paid', '{}'), ('order-3', 'Paid', '{}');
SELECT type, (SELECT count(*) FROM seen s WHERE by = 'see' AND s.type = e.type) AS seen,
	(SELECT count(*) FROM seen s WHERE by = 'ship' AND s.type = e.type) AS shipped, count(*)
FROM events e WHERE position > (SELECT max(position) FROM events WHERE stream = 'order-1') + 1 AND type <> 'Noted' GROUP BY type ORDER BY type;
SELECT (SELECT array_agg((stream, type) ORDER BY n) FROM seen WHERE by = 'see') =
	(SELECT array_agg((stream, type) ORDER BY n) FROM seen WHERE by = 'ship' AND type <> 'after appending') AS same_order;
SELECT count(*) FROM (SELECT type, count(*) FROM events GROUP BY type EXCEPT TABLE types) d;

-- A chain is as long as it likes; a handler sees what the ones before it did.
CREATE FUNCTION count_down(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF (e.data->>'n')::int > 0 THEN
		PERFORM evstore.append('chain', 'Counted', jsonb_build_object('n', (e.data->>'n')::int - 1));
	END IF;
END $$;
SELECT evstore.create_projection('chain', mode => 'inline', handlers => '{"Counted": "count_down"}');
SELECT version FROM evstore.append('chain', 'Counted', '{"n": 1000}');
SELECT count(*), min((data->>'n')::int) FROM events WHERE stream = 'chain';
SELECT n FROM types WHERE type = 'Counted';
-- an endless one can be cancelled
SET statement_timeout = '200ms';
SELECT version FROM evstore.append('chain', 'Counted', '{"n": 2000000000}');
RESET statement_timeout;
SELECT count(*) FROM events WHERE stream = 'chain';
SELECT version FROM evstore.append('chain', 'Counted', '{"n": 1}');
SELECT n FROM types WHERE type = 'Counted';

-- What a handler appends and takes back is not applied; what it does after that is.
CREATE FUNCTION try(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		PERFORM evstore.append('tried', 'Tried', '{}');
		BEGIN
			PERFORM evstore.append('tried', 'Tried', '{}');
		EXCEPTION WHEN OTHERS THEN
			RAISE;
		END;
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM evstore.append('tried', 'Caught', '{}');
	END;
END $$;
SELECT evstore.create_projection('try', mode => 'inline', handlers => '{"Try": "try"}');
SELECT version FROM evstore.append('a', 'Try', '{}');
SELECT version FROM evstore.append('a', 'Try', '{}');
SELECT stream, version, type FROM events WHERE stream = 'tried';
SELECT * FROM types WHERE type IN ('Tried', 'Caught', 'Try') ORDER BY type;
-- An error within the application, caught outside, leaves nothing behind.
CREATE FUNCTION fail(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.append('failed', 'Attempted', '{}');
	IF e.data->>'fail' = 'yes' THEN
		RAISE EXCEPTION 'as told';
	END IF;
END $$;
SELECT evstore.create_projection('fail', mode => 'inline', handlers => '{"Fail": "fail"}');
BEGIN;
SELECT version FROM evstore.append('f', 'Fail', '{"fail": "no"}');
DO $$
BEGIN
	PERFORM evstore.append('f', 'Fail', '{"fail": "yes"}');
EXCEPTION WHEN OTHERS THEN
	RAISE NOTICE '%', sqlerrm;
	PERFORM evstore.append('f', 'Fail', '{"fail": "no"}');
END $$;
SAVEPOINT s;
SELECT version FROM evstore.append('f', 'Fail', '{"fail": "yes"}');
ROLLBACK TO s;
SELECT version FROM evstore.append('f', 'Fail', '{"fail": "no"}');
COMMIT;
SELECT count(*) FROM events WHERE type = 'Attempted';
SELECT * FROM types WHERE type IN ('Attempted', 'Fail') ORDER BY type;

-- A worker's handler appends to a table that inline projections follow.
CREATE FUNCTION react(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.append('reaction', 'Reacted', '{}');
	PERFORM evstore.append('audit', 'Audited', '{}', event_table => 'audit');
END $$;
SELECT evstore.create_projection('react', handlers => '{"Act": "react"}');
SELECT version FROM evstore.append('act', evstore.events('[{"type": "Act", "data": {}}, {"type": "Act", "data": {}}]'));
SELECT evstore.wait_for('react');
SELECT * FROM types WHERE type IN ('Act', 'Reacted') ORDER BY type;
SELECT count(*) FROM (SELECT type, count(*) FROM events GROUP BY type EXCEPT TABLE types) d;

-- The past of a projection may append as well, and then applies to itself.
CREATE TABLE heard (n bigint GENERATED ALWAYS AS IDENTITY, type text);
CREATE FUNCTION hear(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO heard (type) VALUES (e.type);
	IF e.type = 'Act' THEN
		PERFORM evstore.append('heard', 'Heard', '{}');
	END IF;
END $$;
SELECT evstore.create_projection('hear', mode => 'inline', handlers => '{"Act": "hear", "Heard": "hear"}');
SELECT type FROM heard ORDER BY n;
SELECT * FROM types WHERE type = 'Heard';

-- What is applied cannot change who applies it.
CREATE FUNCTION meddle(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.set_projection('types', mode => 'async');
END $$;
SELECT evstore.create_projection('meddle', mode => 'inline', handlers => '{"Meddle": "meddle"}');
SELECT version FROM evstore.append('m', 'Meddle', '{}');
\echo :SQLSTATE
-- It may drop and declare others, itself included.
CREATE FUNCTION drop_all(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.drop_projection(name) FROM evstore.projections WHERE name IN ('hear', 'meddle', 'drop', 'fail');
	PERFORM evstore.create_projection('last', read_table => 'regress_inline_chain.last', query => 'SELECT type, count(*) AS n FROM regress_inline_chain.events GROUP BY type');
	PERFORM evstore.append('d', 'Dropped', '{}');
END $$;
SELECT evstore.create_projection('drop', mode => 'inline', handlers => '{"Drop": "drop_all"}');
SELECT version FROM evstore.append('d', 'Drop', '{}');
SELECT name, mode FROM evstore.projections ORDER BY name;
SELECT evstore.wait_for('last');
SELECT * FROM types WHERE type IN ('Drop', 'Dropped') ORDER BY type;
SELECT count(*) FROM (TABLE last EXCEPT TABLE types) d;

SELECT evstore.drop_projection(name) FROM evstore.projections ORDER BY name;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
SELECT evstore.drop_event_table('audit');
RESET evstore.maintenance;
SET client_min_messages = warning;
DROP SCHEMA regress_inline_chain CASCADE;
