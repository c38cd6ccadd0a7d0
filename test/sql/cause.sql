-- Correlation and causation: why an event was appended.

CREATE SCHEMA regress_cause;
SET search_path = regress_cause;
SELECT evstore.create_event_table();

-- From settings, on every way in; what an event brings itself stays.
SELECT version FROM evstore.append('plain-1', 'T', '{}');
SET evstore.correlation_id = 'checkout-7';
SET evstore.causation_id = 'click-1';
SELECT version FROM evstore.append('plain-1', 'T', '{}');
SELECT version FROM evstore.append('plain-1', 'T', '{}', metadata => '{"user": "ada", "causation_id": "own"}');
SELECT version FROM evstore.append('plain-1', evstore.events('[{"type": "T", "data": {}}, {"type": "T", "data": {}, "metadata": {"correlation_id": "own"}}]'));
INSERT INTO events (stream, type, data, metadata) VALUES ('plain-1', 'T', '{}', NULL), ('plain-1', 'T', '{}', '{"user": "bob"}');
COPY events (stream, type, data) FROM STDIN;
plain-1	T	{}
\.
SELECT evstore.append_if(evstore.events('[{"type": "T", "data": {}, "tags": ["a"]}]'), '{"items": [{"tags": ["a"]}]}') IS NOT NULL AS appended;
-- Metadata that is no object has no room.
SELECT version FROM evstore.append('plain-1', 'T', '{}', metadata => '[1]');
RESET evstore.causation_id;
SELECT version FROM evstore.append('plain-1', 'T', '{}');
RESET evstore.correlation_id;
SELECT version FROM evstore.append('plain-1', 'T', '{}');
SELECT stream, version, metadata FROM events ORDER BY position;

-- From the event that a handler works on: three processes, each moved by the one before.
CREATE FUNCTION next_step(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.append(CASE e.type WHEN 'OrderPlaced' THEN 'payment-1' WHEN 'PaymentAsked' THEN 'payment-1' ELSE 'shipment-1' END,
		CASE e.type WHEN 'OrderPlaced' THEN 'PaymentAsked' WHEN 'PaymentAsked' THEN 'Paid' ELSE 'Shipped' END, '{}',
		metadata => CASE e.type WHEN 'OrderPlaced' THEN '{"by": "payments"}'::jsonb END);
END $$;
SELECT evstore.create_projection('process', handlers => '{"OrderPlaced": "next_step", "PaymentAsked": "next_step", "Paid": "next_step"}');
CREATE PROCEDURE until_shipped(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..6000 LOOP
		EXIT WHEN (SELECT count(*) FROM regress_cause.events WHERE type = 'Shipped') >= n;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', id => 'aaaaaaaa-0000-4000-8000-000000000001');
CALL until_shipped(1);
SET evstore.correlation_id = 'checkout-8';
BEGIN;
SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{}', id => 'aaaaaaaa-0000-4000-8000-000000000002');
SELECT version FROM evstore.append('note-1', 'Noted', '{}', metadata => '{"causation_id": "aaaaaaaa-0000-4000-8000-000000000002"}');
COMMIT;
RESET evstore.correlation_id;
CALL until_shipped(2);
-- The tree, in order; the causes are the events' ids, or positions where they have none.
CREATE FUNCTION tree(correlation text) RETURNS TABLE (tree text, stream text, by text, caused boolean) LANGUAGE sql AS $$
	SELECT repeat('  ', t.depth) || t.type, t.stream, t.metadata->>'by', c.position IS NOT NULL
	FROM evstore.trace(correlation, 'regress_cause.events') WITH ORDINALITY t (depth, cause, "position", stream, version, recorded_at, type, data, metadata, n)
		LEFT JOIN regress_cause.events c ON coalesce(c.id::text, c.position::text) = t.cause
	ORDER BY t.n $$;
SELECT * FROM tree('aaaaaaaa-0000-4000-8000-000000000001');
SELECT * FROM tree('checkout-8');
SELECT * FROM tree('nothing');
SELECT * FROM tree('checkout-7') LIMIT 2;
-- What began without a name bears its position.
SELECT version FROM evstore.append('order-3', 'OrderPlaced', '{}');
CALL until_shipped(3);
SELECT t.* FROM events e CROSS JOIN LATERAL tree(e.position::text) t WHERE e.stream = 'order-3';
-- What a handler appends is applied inline at once, and the handler goes on with the same cause.
SELECT evstore.create_projection('counted', mode => 'inline', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
CREATE FUNCTION twice(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.append('twice-1', 'First', '{}');
	PERFORM evstore.append('twice-1', 'Second', '{}');
END $$;
SELECT evstore.create_projection('twice', handlers => '{"Asked": "twice"}');
SELECT version FROM evstore.append('asked-1', 'Asked', '{}', id => 'aaaaaaaa-0000-4000-8000-000000000009');
SELECT evstore.wait_for('twice');
SELECT type, metadata FROM events WHERE stream = 'twice-1' ORDER BY version;
SELECT evstore.drop_projection('twice');
SELECT evstore.drop_projection('counted');

-- Outside of a handler nothing lingers.
SELECT version FROM evstore.append('plain-2', 'T', '{}');
SELECT metadata FROM events WHERE stream = 'plain-2';
BEGIN;
SELECT (evstore._handling(ROW(1, 1, now(), 1, NULL, 's', 't', '{}', NULL, NULL)::evstore.event, 1, NULL, NULL)).stream;
SELECT version FROM evstore.append('plain-2', 'T', '{}');
COMMIT;
SELECT version FROM evstore.append('plain-2', 'T', '{}');
SELECT version, metadata FROM events WHERE stream = 'plain-2' ORDER BY version;

\set VERBOSITY terse
SELECT evstore.trace(NULL);
SELECT evstore.trace('x', 'pg_class');
CREATE ROLE regress_cause_reader;
GRANT USAGE ON SCHEMA regress_cause TO regress_cause_reader;
SET ROLE regress_cause_reader;
SELECT evstore.trace('x');
RESET ROLE;

SELECT evstore.drop_projection('process');
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
RESET evstore.maintenance;
SET client_min_messages = warning;
DROP SCHEMA regress_cause CASCADE;
DROP ROLE regress_cause_reader;
