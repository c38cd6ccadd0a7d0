-- Parked streams of several event tables: one is of one table, whatever streams
-- of the same name there are in the others.

\set SHOW_CONTEXT never
CREATE SCHEMA regress_park_tables;
SET search_path = regress_park_tables;
SELECT evstore.create_event_table();
SELECT evstore.create_event_table('payments');
SELECT evstore.create_event_table('others');
CREATE VIEW logged AS SELECT 'events' AS source, e.* FROM events e UNION ALL SELECT 'payments', p.* FROM payments p;

-- A statement that fails on events that say so, until that is mended.
CREATE TABLE mended (source text, stream text);
CREATE TABLE applied (n bigint GENERATED ALWAYS AS IDENTITY, source text, "position" bigint, stream text, version bigint);
CREATE FUNCTION take(source text, "position" bigint, stream text, version bigint, data jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO applied (source, "position", stream, version) VALUES (take.source, take.position, take.stream, take.version);
	IF data ? 'poison' AND NOT EXISTS (SELECT FROM mended m WHERE m.source = take.source AND m.stream = take.stream) THEN
		RAISE EXCEPTION 'cannot take what is bitter';
	END IF;
END $$;
-- One event in whichever table.
CREATE FUNCTION pour(source regclass, stream text, poisoned boolean DEFAULT false) RETURNS void LANGUAGE sql AS $$
	SELECT evstore.append(stream, 'Poured', CASE WHEN poisoned THEN '{"poison": true}' ELSE '{}' END::jsonb, event_table => source) $$;
-- Every event is applied, or passed, and neither twice; and none before one that it follows.
CREATE FUNCTION wrong() RETURNS TABLE (what text) LANGUAGE sql AS $$
	SELECT format('%s %s %s: applied %s times, passed %s times', l.source, l.stream, l.version, a.n, s.n) FROM logged l,
		LATERAL (SELECT count(*) AS n FROM applied a WHERE (a.source, a.position, a.stream, a.version) = (l.source, l.position, l.stream, l.version)) a,
		LATERAL (SELECT count(*) AS n FROM evstore.skipped_events s WHERE (s.event_table::text, s.position, s.stream, s.version) = (l.source, l.position, l.stream, l.version)) s
	WHERE a.n + s.n <> 1
	UNION ALL
	SELECT format('%s %s %s: applied out of order', source, stream, version) FROM
		(SELECT *, version <> 1 + coalesce(lag(version) OVER (PARTITION BY source, stream ORDER BY n), 0) AS late FROM applied) a WHERE late
	UNION ALL
	SELECT format('%s counted, %s there', skipped_events, count(*)) FROM evstore.projections p LEFT JOIN evstore.skipped_events s ON s.projection = p.name
	GROUP BY p.name, p.skipped_events HAVING count(s.position) <> p.skipped_events $$;

SELECT evstore.create_projection('parks', on_error => 'park', retries => 0, read_table => 'applied', statement => $$
	SELECT take(source, position, stream, version, data) FROM
		(SELECT 'events' AS source, position, stream, version, data FROM new_events
		UNION ALL SELECT 'payments', position, stream, version, data FROM new_payments ORDER BY position) e$$);
SELECT pour('events', 's-1'), pour('payments', 's-1'), pour('events', 's-1', true), pour('payments', 's-1'), pour('events', 's-1'), pour('payments', 's-2'), pour('payments', 's-1');
SELECT evstore.wait_for('parks');
SELECT parked_streams FROM evstore.projections;
SELECT event_table, stream, version, parked, sqlstate, message FROM evstore.skipped_events ORDER BY position;
SELECT source, stream, version FROM applied ORDER BY n;
SELECT wrong();

-- Then the stream of that name in the other table as well: what comes for the two, in turns, is held back
-- without what stands in between, and comes in one batch.
SELECT pour('payments', 's-1', true);
SELECT evstore.wait_for('parks');
SELECT parked_streams FROM evstore.projections;
SELECT evstore.pause_projection('parks');
SELECT pour('events', 's-1'), pour('payments', 's-1'), pour('events', 's-1'), pour('payments', 's-9'), pour('events', 's-1'), pour('payments', 's-1'), pour('events', 's-9'), pour('payments', 's-1'), pour('payments', 's-1');
SELECT evstore.resume_projection('parks');
SELECT evstore.wait_for('parks');
SELECT event_table, stream, array_agg(version ORDER BY position) AS versions FROM evstore.skipped_events WHERE parked GROUP BY 1, 2 ORDER BY 1::text;
SELECT source, stream, array_agg(version ORDER BY n) AS versions FROM applied GROUP BY 1, 2 ORDER BY 1, 2;
SELECT wrong();

-- One of them is mended: by itself it can be replayed, with the other it cannot.
INSERT INTO mended VALUES ('payments', 's-1');
SELECT evstore.replay_parked('parks', 's-1');
\echo :SQLSTATE
SELECT evstore.replay_parked('parks', 's-1', 'events');
\echo :SQLSTATE
SELECT evstore.replay_parked('parks', 's-1', 'others'), evstore.replay_parked('parks', 's-2', 'payments'),
	evstore.replay_parked('parks', NULL), evstore.replay_parked(NULL, 's-1', 'payments');
SELECT evstore.replay_parked('parks', 's-1', 'payments');
SELECT parked_streams FROM evstore.projections;
SELECT event_table, stream, count(*) FROM evstore.skipped_events GROUP BY 1, 2;
SELECT wrong();
SELECT pour('events', 's-1'), pour('payments', 's-1');
SELECT evstore.wait_for('parks');
SELECT event_table, stream, count(*) FROM evstore.skipped_events GROUP BY 1, 2;
SELECT wrong();
-- Who may read the one table and not the other sees the streams of that one.
CREATE ROLE regress_park_tables;
GRANT USAGE ON SCHEMA regress_park_tables TO regress_park_tables;
GRANT SELECT ON payments TO regress_park_tables;
SELECT pour('payments', 's-2', true);
SELECT evstore.wait_for('parks');
SET ROLE regress_park_tables;
SELECT DISTINCT event_table, stream, type, parked, message FROM evstore.skipped_events ORDER BY stream;
RESET ROLE;

-- Replayed together, they come in the order of positions.
TRUNCATE mended;
SELECT pour('payments', 's-1', true), pour('events', 's-1'), pour('payments', 's-1'), pour('events', 's-1');
SELECT evstore.wait_for('parks');
INSERT INTO mended SELECT DISTINCT event_table, stream FROM evstore.skipped_events;
SELECT coalesce(max(n), 0) AS before FROM applied \gset
SELECT evstore.replay_parked('parks', 's-1') AS replayed \gset
SELECT count(*) = :replayed AS all FROM applied WHERE n > :before;
SELECT bool_and(position > before) AS in_order, count(DISTINCT source) FROM
	(SELECT source, position, lag(position, 1, 0::bigint) OVER (ORDER BY n) AS before FROM applied WHERE n > :before) a;
SELECT evstore.replay_parked('parks', 's-2');
SELECT parked_streams, skipped_events FROM evstore.projections;
SELECT wrong();

-- Any number of streams, poisoned anywhere: once all is mended and replayed, all has been applied, once and in order.
-- The number of shards changes nothing about it: a stream is the same shard's, whatever table it is of.
CREATE PROCEDURE storm(shards integer) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.set_projection('parks', shards => shards, batch_size => 17);
	COMMIT;
	PERFORM setseed(0.5 / shards);
	FOR batch IN 1 .. 6 LOOP
		PERFORM pour((CASE WHEN random() < 0.5 THEN 'events' ELSE 'payments' END)::regclass, format('t%s-%s', shards, floor(random() * 6)), random() < 0.1 / batch)
		FROM generate_series(1, 60);
		COMMIT;
		PERFORM evstore.wait_for('parks');
		COMMIT;
	END LOOP;
END $$;
CALL storm(1);
SELECT parked_streams > 2 AS parked FROM evstore.projections;
SELECT wrong();
-- A rebuild parks what it fails on itself; what it puts in place is as exact, also for the shards.
CREATE PROCEDURE rebuild() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.rebuild_projection('parks');
	COMMIT;
	FOR i IN 1 .. 6000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM evstore.rebuild_progress);
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CREATE TABLE before AS SELECT event_table, position, stream, version, parked FROM evstore.skipped_events;
CALL rebuild();
SELECT count(*) FROM ((SELECT event_table, position, stream, version, parked FROM evstore.skipped_events EXCEPT ALL TABLE before)
	UNION ALL (TABLE before EXCEPT ALL SELECT event_table, position, stream, version, parked FROM evstore.skipped_events)) d;
SELECT wrong();
INSERT INTO mended SELECT DISTINCT event_table, stream FROM evstore.skipped_events;
SELECT bool_and(evstore.replay_parked('parks', stream, event_table) > 0) AS replayed FROM (SELECT DISTINCT event_table, stream FROM evstore.skipped_events) s;
SELECT parked_streams, skipped_events FROM evstore.projections;
SELECT wrong();
CALL storm(3);
SELECT parked_streams > 2 AS parked FROM evstore.projections;
SELECT wrong();
TRUNCATE before;
INSERT INTO before SELECT event_table, position, stream, version, parked FROM evstore.skipped_events;
CALL rebuild();
SELECT count(*) FROM (SELECT event_table, position, stream, version, parked FROM evstore.skipped_events EXCEPT ALL TABLE before) d;
SELECT wrong();
-- each row is that of the shard whose events it is of
SELECT count(*) FROM evstore._parked k JOIN evstore._projection p ON p.id = k.projection
WHERE NOT evstore._in_shard(evstore._hash(0, k.stream), p.shard, p.shards);
INSERT INTO mended SELECT DISTINCT event_table, stream FROM evstore.skipped_events;
SELECT bool_and(evstore.replay_parked('parks', stream) > 0) AS replayed FROM (SELECT DISTINCT stream FROM evstore.skipped_events) s;
SELECT parked_streams, skipped_events FROM evstore.projections;
SELECT wrong();
SELECT evstore.drop_projection('parks');

-- A query: the read table is the query over all but what is parked, and then over all.
SELECT evstore.create_projection('sums', on_error => 'park', retries => 0, query => $$
	SELECT e.account, sum(e.amount) AS amount, evstore.last(e.what, e.position) AS last FROM
		(SELECT position, split_part(stream, '-', 2) AS account, (data->>'amount')::numeric AS amount, 'order' AS what FROM events WHERE type = 'Ordered'
		UNION ALL SELECT position, split_part(stream, '-', 2), -(data->>'amount')::numeric, 'payment' FROM payments WHERE type = 'Paid') e
	GROUP BY e.account$$);
SELECT version FROM evstore.append('a-1', 'Ordered', '{"amount": 1}');
SELECT version FROM evstore.append('a-1', 'Paid', '{"amount": "2 and a half"}', event_table => 'payments');
SELECT version FROM evstore.append('a-1', 'Ordered', '{"amount": 4}');
SELECT version FROM evstore.append('a-1', 'Paid', '{"amount": 8}', event_table => 'payments');
SELECT version FROM evstore.append('a-2', 'Paid', '{"amount": 16}', event_table => 'payments');
SELECT evstore.wait_for('sums');
SELECT account, amount, last FROM sums ORDER BY account;
SELECT event_table, stream, version, parked, sqlstate FROM evstore.skipped_events ORDER BY position;
SELECT evstore.set_projection('sums', mode => 'inline');
SELECT evstore.replay_parked('sums', 'a-1');
DO $$
BEGIN
	SET LOCAL evstore.maintenance = on;
	UPDATE payments SET data = '{"amount": 2.5}' WHERE stream = 'a-1' AND version = 1;
END $$;
SELECT evstore.replay_parked('sums', 'a-1');
SELECT account, amount, last FROM sums ORDER BY account;
SELECT evstore.set_projection('sums', mode => 'inline');
SELECT evstore.drop_projection('sums');

-- Events that were restored into an empty table may stand at the positions of others: what is right for one alone is not done then.
SELECT evstore.create_event_table('archive');
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE
	holds boolean;
BEGIN
	FOR i IN 1 .. 6000 LOOP
		EXECUTE 'SELECT ' || condition INTO holds;
		EXIT WHEN holds;
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT version FROM evstore.append('b-1', 'Told', '{"amount": 1}');
SELECT version FROM evstore.append('b-1', 'Told', '{"amount": "much"}');
SELECT version FROM evstore.append('b-1', 'Told', '{"amount": 4}');
SELECT version FROM evstore.append('b-2', 'Told', '{"amount": 8}');
INSERT INTO archive SELECT position, version, recorded_at, schema_version, id, 'c' || stream, type, '{"amount": 16}'::jsonb, metadata, tags FROM events WHERE stream LIKE 'b-%';
SELECT evstore.create_projection('told', on_error => 'park', retries => 0, query => $$
	SELECT e.stream, sum((e.data->>'amount')::numeric) AS amount FROM
		(SELECT stream, data FROM events WHERE type = 'Told' UNION ALL SELECT stream, data FROM archive) e GROUP BY e.stream$$);
CALL until($$failures > 1 AND failed_position IS NOT NULL FROM evstore.projections$$);
SELECT p.state, e.stream, e.version, p.skipped_events FROM evstore.projections p JOIN events e ON e.position = p.failed_position;
SELECT stream, amount FROM told ORDER BY stream;
-- the same for what is held back later, and for what is replayed
SELECT evstore.drop_projection('told');
SET evstore.maintenance = on;
SET client_min_messages = warning;
DELETE FROM archive;
RESET client_min_messages;
RESET evstore.maintenance;
SELECT evstore.create_projection('told', on_error => 'park', retries => 0, query => $$
	SELECT e.stream, sum((e.data->>'amount')::numeric) AS amount FROM
		(SELECT stream, data FROM events WHERE type = 'Told' UNION ALL SELECT stream, data FROM archive) e GROUP BY e.stream$$);
SELECT evstore.wait_for('told');
SELECT stream, version FROM evstore.skipped_events ORDER BY position;
SELECT evstore.pause_projection('told');
SELECT version FROM evstore.append('b-3', 'Told', '{"amount": 32}');
SELECT version FROM evstore.append('b-1', 'Told', '{"amount": 64}');
SELECT version FROM evstore.append('b-1', 'Told', '{"amount": 128}');
SELECT version FROM evstore.append('b-3', 'Told', '{"amount": 256}');
INSERT INTO archive SELECT position, version, recorded_at, schema_version, id, 'c' || stream, type, '{"amount": 16}'::jsonb, metadata, tags FROM events WHERE stream = 'b-1' AND version IN (3, 5);
SELECT evstore.resume_projection('told');
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, regexp_replace(last_error, '(?<=position |_batch_|to )\d+', 'N', 'g') AS last_error FROM evstore.projections;
SELECT stream, version FROM evstore.skipped_events ORDER BY position;
SELECT stream, amount FROM told ORDER BY stream;
SELECT evstore.replay_parked('told', 'b-1');
DO $$
BEGIN
	SET LOCAL evstore.maintenance = on;
	UPDATE events SET data = '{"amount": 2}' WHERE stream = 'b-1' AND version = 2;
END $$;
\set VERBOSITY sqlstate
SELECT evstore.replay_parked('told', 'b-1');
\set VERBOSITY default
SELECT evstore.rebuild_projection('told');
CALL until($$count(*) = 0 FROM evstore.rebuild_progress$$);
SELECT evstore.wait_for('told');
SELECT stream, amount FROM told ORDER BY stream;
SELECT state, skipped_events, parked_streams FROM evstore.projections;
SELECT evstore.drop_projection('told');

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_park_tables CASCADE;
DROP ROLE regress_park_tables;
