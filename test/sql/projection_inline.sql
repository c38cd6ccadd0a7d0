-- Inline projections: applied by whoever appends, in the same transaction.

\set SHOW_CONTEXT never
CREATE SCHEMA regress_projection_inline;
SET search_path = regress_projection_inline;
SELECT evstore.create_event_table();
CREATE FUNCTION triggers(OUT trigger name, OUT enabled "char") RETURNS SETOF record LANGUAGE sql AS
	$$SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'events'::regclass AND tgname = 'evstore_inline'$$;

-- What there is already is applied by the declaration, and so is what its transaction has appended before.
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "north", "amount": 1}');
BEGIN;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "north", "amount": 2}');
SELECT evstore.create_projection('sales', mode => 'inline', query => $$
	SELECT data->>'region' AS region, count(*) AS n, sum((data->>'amount')::numeric) AS amount
	FROM events WHERE type = 'Sold' GROUP BY data->>'region'$$);
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "north", "amount": 4}');
COMMIT;
TABLE sales;
SELECT * FROM triggers();

-- Every event once, by every way there is to append, and there for the next statement of the transaction.
CREATE TABLE ledger ("position" bigint, stream text, amount numeric);
SELECT evstore.create_projection('ledger', mode => 'inline', read_table => 'ledger', statement => $$
	INSERT INTO ledger SELECT "position", stream, (data->>'amount')::numeric FROM new_events$$);
CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, "position" bigint, stream text, version bigint);
CREATE FUNCTION see(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen ("position", stream, version) VALUES (e.position, e.stream, e.version);
END $$;
SELECT evstore.create_projection('seen', mode => 'inline', handler => 'see');
CREATE FUNCTION wrong() RETURNS TABLE (what text) LANGUAGE sql AS $$
	SELECT 'sales: ' || r::text FROM (
		(TABLE sales EXCEPT ALL
		SELECT data->>'region', count(*), sum((data->>'amount')::numeric) FROM events WHERE type = 'Sold' GROUP BY 1)
		UNION ALL
		(SELECT data->>'region', count(*), sum((data->>'amount')::numeric) FROM events WHERE type = 'Sold' GROUP BY 1
		EXCEPT ALL TABLE sales)) r
	UNION ALL
	SELECT 'ledger: ' || coalesce(e.position, l.position) FROM events e FULL JOIN ledger l USING ("position")
	WHERE e.position IS NULL OR l.position IS NULL OR (e.stream, (e.data->>'amount')::numeric) IS DISTINCT FROM (l.stream, l.amount)
	UNION ALL
	SELECT 'ledger twice: ' || "position" FROM ledger GROUP BY "position" HAVING count(*) > 1
	UNION ALL
	SELECT 'seen: ' || coalesce(e.position, s.position) FROM events e FULL JOIN seen s USING ("position")
	WHERE (e.stream, e.version) IS DISTINCT FROM (s.stream, s.version)
	UNION ALL
	SELECT 'seen twice or out of order: ' || "position" FROM
		(SELECT "position", "position" <= lag("position") OVER (ORDER BY n) AS late FROM seen) s WHERE late;
$$;
SELECT wrong();
BEGIN;
SELECT version FROM evstore.append('sale-2', 'Sold', '{"region": "south", "amount": 10}');
SELECT wrong();
SELECT version FROM evstore.append('sale-2', evstore.events('[{"type": "Sold", "data": {"region": "south", "amount": 20}},
	{"type": "Sold", "data": {"region": "east", "amount": 30}}, {"type": "Returned", "data": {"amount": 5}}]'));
SELECT wrong();
SELECT stream, version FROM evstore.append_streams(ARRAY[
	('sale-3', evstore.events('[{"type": "Sold", "data": {"region": "west", "amount": 1}}]'), 0)::evstore.stream_append,
	('sale-4', evstore.events('[{"type": "Sold", "data": {"region": "east", "amount": 2}}, {"type": "Sold", "data": {"region": null, "amount": 3}}]'), 0)::evstore.stream_append]);
SELECT wrong();
SELECT version FROM evstore.append_if(evstore.events('[{"type": "Sold", "data": {"region": "west", "amount": 7}, "tags": ["t"]}]'),
	'{"items": [{"tags": ["t"]}]}');
SELECT wrong();
INSERT INTO events (stream, type, data) SELECT 'sale-' || i % 3, 'Sold', jsonb_build_object('region', 'r' || i % 4, 'amount', i)
FROM generate_series(1, 20) i;
SELECT wrong();
COPY events (stream, type, data) FROM stdin;
sale-1	Sold	{"region": "north", "amount": 100}
sale-7	Sold	{"region": "north", "amount": 200}
\.
SELECT wrong();
INSERT INTO events (stream, type, data) VALUES ('sale-8', 'Sold', '{"region": "north", "amount": 1}') ON CONFLICT DO NOTHING;
SELECT wrong();
WITH a AS (INSERT INTO events (stream, type, data) VALUES ('sale-8', 'Sold', '{"region": "west", "amount": 2}') RETURNING *),
	b AS (INSERT INTO events (stream, type, data) SELECT stream, 'Sold', '{"region": "west", "amount": 4}' FROM a)
SELECT version, (SELECT count(*) FROM sales WHERE region = 'r1') AS r1 FROM a;
SELECT wrong();
COMMIT;
SELECT wrong();
SELECT version FROM evstore.append('bulk', (SELECT array_agg(('Sold', jsonb_build_object('region', 'r' || n % 5, 'amount', n), NULL, NULL, NULL, NULL)::evstore.new_event)
	FROM generate_series(1, 6000) n));
SELECT wrong();
SELECT count(*) FROM ledger;

-- A retry that finds its events stored, an INSERT of no row, and a call that only holds a stream change nothing.
SELECT version FROM evstore.append('once', 'Sold', '{"region": "once", "amount": 1}', 'null', 0, '00000000-0000-0000-0000-000000000001');
SELECT version FROM evstore.append('once', 'Sold', '{"region": "once", "amount": 1}', 'null', 0, '00000000-0000-0000-0000-000000000001');
INSERT INTO events (stream, type, data) SELECT 'none', 'Sold', '{}' WHERE false;
SELECT evstore.expect_version('once', 1);
SELECT * FROM sales WHERE region = 'once';
SELECT wrong();

-- An error aborts the append, and names the projection. What a subtransaction added goes with it.
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "bad", "amount": "much"}');
\echo :SQLSTATE
DO $$
DECLARE
	context text;
BEGIN
	PERFORM evstore.append('sale-1', 'Sold', '{"region": "bad", "amount": "much"}');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RAISE NOTICE '%', regexp_replace(substring(context, 'projection ".*?\n'), '\d+', 'N', 'g');
END $$;
BEGIN;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "kept", "amount": 1}');
SAVEPOINT s;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "lost", "amount": 1}');
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "lost", "amount": "much"}');
ROLLBACK TO s;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "kept", "amount": 2}');
COMMIT;
DO $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			PERFORM evstore.append('sale-1', 'Sold', '{"region": "lost", "amount": 1}');
			PERFORM evstore.append('sale-1', 'Sold', '{"region": "lost", "amount": "much"}');
		EXCEPTION WHEN invalid_text_representation THEN
			PERFORM evstore.append('sale-1', 'Sold', '{"region": "caught", "amount": 1}');
		END;
	END LOOP;
END $$;
SELECT * FROM sales WHERE region IN ('bad', 'kept', 'lost', 'caught') ORDER BY region;
SELECT wrong();

-- Repeatable read: the transaction is older than the projection, and applies to it.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) > 0 FROM events;
SELECT version FROM evstore.append('sale-9', 'Sold', '{"region": "north", "amount": 9}');
SELECT wrong();
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT evstore.create_projection('x', mode => 'inline', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream');
ROLLBACK;

-- Not caught up by workers, and nothing to wait for.
SELECT name, kind, mode, state, position = head AS at_head, lag_events, lag_seconds, failures FROM evstore.projections ORDER BY name;
SELECT evstore.wait_for('sales'), evstore.wait_for('seen', (SELECT max("position") FROM events));
SELECT evstore.wait_for('sales', (SELECT max("position") FROM events) + 1000000, '20 ms');
SELECT evstore.pause_projection('sales');
SELECT evstore.resume_projection('sales');

-- PREPARE TRANSACTION takes the read tables along.
BEGIN;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "prepared", "amount": 1}');
PREPARE TRANSACTION 'regress_inline';
SELECT count(*) FROM sales WHERE region = 'prepared';
COMMIT PREPARED 'regress_inline';
SELECT * FROM sales WHERE region = 'prepared';
SELECT wrong();

-- There and back again, each more than once, with events in between and in the same transaction.
SELECT evstore.set_projection('sales', mode => 'async');
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "switch", "amount": 1}');
SELECT evstore.wait_for('sales');
BEGIN;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "switch", "amount": 2}');
SELECT evstore.set_projection('sales', mode => 'inline');
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "switch", "amount": 4}');
SELECT evstore.set_projection('sales', mode => 'inline');
SELECT evstore.set_projection('sales', mode => 'async');
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "switch", "amount": 8}');
SAVEPOINT s;
SELECT evstore.set_projection('sales', mode => 'inline');
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "switch", "amount": 16}');
ROLLBACK TO s;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "switch", "amount": 32}');
COMMIT;
SELECT evstore.wait_for('sales');
SELECT * FROM sales WHERE region = 'switch';
SELECT evstore.set_projection('sales');
SELECT mode FROM evstore.projections WHERE name = 'sales';
BEGIN;
SELECT evstore.set_projection('sales', mode => 'inline');
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "switch", "amount": 64}');
ROLLBACK;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "switch", "amount": 128}');
SELECT evstore.wait_for('sales');
SELECT * FROM sales WHERE region = 'switch';
SELECT evstore.pause_projection('sales');
SELECT evstore.set_projection('sales', mode => 'inline');
SELECT evstore.resume_projection('sales');
SELECT evstore.set_projection('sales', mode => 'inline');
SELECT wrong();
SELECT evstore.set_projection('sales', mode => 'outline');
SELECT evstore.set_projection('nosuch', mode => 'inline');
SELECT evstore.set_projection(NULL, mode => 'inline');

-- The trigger stands under the guard.
\set VERBOSITY terse
DROP TRIGGER evstore_inline ON events;
ALTER TABLE events DISABLE TRIGGER evstore_inline;
ALTER TABLE events ENABLE REPLICA TRIGGER evstore_inline;
ALTER TABLE events DISABLE TRIGGER ALL;
ALTER TRIGGER evstore_inline ON events RENAME TO other;
CREATE OR REPLACE TRIGGER evstore_inline AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION evstore._inline();
CREATE TRIGGER other AFTER INSERT ON events REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION evstore._inline();
SELECT evstore.create_event_table('others');
CREATE TRIGGER evstore_inline AFTER INSERT ON others REFERENCING NEW TABLE AS n FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION evstore._inline();
CREATE TRIGGER evstore_inline AFTER INSERT ON others FOR EACH STATEMENT EXECUTE FUNCTION evstore._inline();
CREATE TRIGGER evstore_inline AFTER INSERT ON others FOR EACH STATEMENT EXECUTE FUNCTION evstore._guard();
CREATE TRIGGER evstore_inline AFTER INSERT ON others REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION evstore._inline();
SELECT version FROM evstore.append('o', 'O', '{}', event_table => 'others');
CREATE TABLE ordinary ("position" bigint);
CREATE TRIGGER evstore_inline AFTER INSERT ON ordinary REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION evstore._inline();
INSERT INTO ordinary VALUES (1);
SELECT evstore._inline();
\set VERBOSITY default
DROP TRIGGER evstore_inline ON events;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "guarded", "amount": 1}');
SET session_replication_role = replica;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "guarded", "amount": 2}');
RESET session_replication_role;
SELECT wrong();

-- Other triggers, constraints and columns of the table: append goes through the executor.
CREATE TABLE heard (statements integer, events bigint);
CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO heard SELECT 1, count(*) FROM added;
	RETURN NULL;
END $$;
CREATE TRIGGER hear AFTER INSERT ON events REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION hear();
ALTER TABLE events ADD CHECK (type <> 'Bad'), ADD COLUMN note text DEFAULT 'n';
SELECT version FROM evstore.append('sale-5', evstore.events('[{"type": "Sold", "data": {"region": "south", "amount": 20}},
	{"type": "Sold", "data": {"region": "east", "amount": 30}}]'));
\set VERBOSITY terse
SELECT version FROM evstore.append('sale-5', 'Bad', '{"region": "south", "amount": 20}');
\set VERBOSITY default
SELECT * FROM heard;
SELECT wrong();
DROP TRIGGER hear ON events;
ALTER TABLE events DROP CONSTRAINT events_type_check, DROP COLUMN note;
SELECT version FROM evstore.append('sale-5', 'Sold', '{"region": "south", "amount": 20}');
SELECT wrong();

-- Events that are restored by their owner count as appended, in whatever order they come.
SELECT max("position") + 1000 AS free FROM events \gset
INSERT INTO events ("position", version, recorded_at, schema_version, stream, type, data)
SELECT :free - i, 100 - i, now(), 1, 'restored', 'Sold', jsonb_build_object('region', 'restored', 'amount', i)
FROM unnest('{5,4,3,1,9}'::int[]) i ORDER BY i;
SELECT * FROM sales WHERE region = 'restored';
SELECT wrong();
BEGIN;
INSERT INTO events ("position", version, recorded_at, schema_version, stream, type, data)
VALUES (:free + 1000, 200, now(), 1, 'restored', 'Sold', '{"region": "restored", "amount": 1}');
SELECT evstore.set_projection('sales', mode => 'async');
ROLLBACK;

-- A restore that was rolled back restores nothing: what is appended then is applied.
BEGIN;
SAVEPOINT restoring;
INSERT INTO evstore._projection SELECT * FROM evstore._projection WHERE name = 'sales' ON CONFLICT DO NOTHING;
ROLLBACK TO restoring;
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "rolled back", "amount": 1}');
COMMIT;
SELECT count(*) FROM evstore.verify_projection('sales');

-- Dropped: appends go on without.
SELECT evstore.drop_projection('sales');
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "later", "amount": "much"}');
SELECT evstore.drop_projection('ledger');
SELECT version FROM evstore.append('sale-1', 'Sold', '{"region": "later", "amount": "much"}');
SELECT evstore.drop_projection('seen');
SELECT count(*) FROM events WHERE data->>'region' = 'later';
SELECT count(*) FROM ledger l WHERE NOT EXISTS (SELECT FROM events e WHERE e.position = l.position);

SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
SELECT evstore.drop_event_table('others');
RESET evstore.maintenance;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_inline CASCADE;
