-- Statement projections: any INSERT, UPDATE, DELETE or MERGE over the batch
-- view, applied batch by batch, once.

CREATE SCHEMA regress_projection_statement;
SET search_path = regress_projection_statement;
SELECT evstore.create_event_table();

-- Outside a batch the view is empty, whatever the table holds.
SELECT version FROM evstore.append('order-1', evstore.events('[
	{"type": "OrderPlaced", "data": {"total": 10}}, {"type": "OrderPaid", "data": {}}]'));
SELECT count(*) FROM new_events;
SELECT count(*) FROM events;

-- INSERT … ON CONFLICT: the order's state in one row.
CREATE TABLE order_summary (stream text PRIMARY KEY, total numeric, status text, events bigint);
SELECT evstore.create_projection('order_summary', statement => $$
	INSERT INTO order_summary AS s (stream, total, status, events)
	SELECT stream, sum((data->>'total')::numeric), evstore.last(type, position), count(*)
	FROM new_events GROUP BY stream
	ON CONFLICT (stream) DO UPDATE SET
		total = coalesce(s.total, 0) + coalesce(EXCLUDED.total, 0), status = EXCLUDED.status, events = s.events + EXCLUDED.events$$);
SELECT evstore.wait_for('order_summary');
TABLE order_summary ORDER BY stream;
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{"total": 20}');
SELECT evstore.wait_for('order_summary');
TABLE order_summary ORDER BY stream;

-- Plain INSERT: each event once, with its position, in small batches too.
CREATE TABLE copy (n bigint GENERATED ALWAYS AS IDENTITY, "position" bigint, stream text, version bigint);
SELECT evstore.create_projection('copy', batch_size => 2, statement => $$
	INSERT INTO copy ("position", stream, version) SELECT position, stream, version FROM new_events ORDER BY position$$);
SELECT version FROM evstore.append('order-3', evstore.events('[
	{"type": "Step", "data": 1}, {"type": "Step", "data": 2}, {"type": "Step", "data": 3}, {"type": "Step", "data": 4}, {"type": "Step", "data": 5}]'));
SELECT evstore.wait_for('copy');
SELECT stream, version FROM copy ORDER BY n;
SELECT count(*) AS copied, count(DISTINCT position) AS positions, (SELECT count(*) FROM events) AS events,
	bool_and(rank = n) AS in_order
FROM (SELECT n, position, row_number() OVER (ORDER BY position) AS rank FROM copy) c;

-- UPDATE and DELETE.
CREATE TABLE stock (item text PRIMARY KEY, on_hand integer NOT NULL);
INSERT INTO stock VALUES ('pen', 10), ('ink', 10);
SELECT evstore.create_projection('stock', statement => $$
	UPDATE stock SET on_hand = on_hand - sold.quantity
	FROM (SELECT data->>'item' AS item, sum((data->>'quantity')::integer) AS quantity FROM new_events
		WHERE type = 'ItemSold' GROUP BY 1) sold
	WHERE sold.item = stock.item$$);
CREATE TABLE watchlist (stream text PRIMARY KEY);
INSERT INTO watchlist VALUES ('order-1'), ('order-4');
SELECT evstore.create_projection('watchlist', statement => $$
	DELETE FROM watchlist w USING new_events e WHERE e.stream = w.stream AND e.type = 'OrderClosed'$$);

-- MERGE.
CREATE TABLE open_order (stream text PRIMARY KEY, since bigint);
SELECT evstore.create_projection('open_order', statement => $$
	MERGE INTO open_order o
	USING (SELECT stream, bool_or(type = 'OrderClosed') AS closed, max(version) AS version FROM new_events GROUP BY stream) e
	ON e.stream = o.stream
	WHEN MATCHED AND e.closed THEN DELETE
	WHEN NOT MATCHED AND NOT e.closed THEN INSERT VALUES (e.stream, e.version)$$);

-- A WITH query, a schema-qualified view, and a function that reads the view itself.
CREATE TABLE tally (type text PRIMARY KEY, n bigint);
CREATE FUNCTION batch_types() RETURNS TABLE (type text, n bigint) LANGUAGE plpgsql AS
$$
BEGIN
	RETURN QUERY SELECT e.type, count(*) FROM new_events e GROUP BY e.type;
END
$$;
SELECT evstore.create_projection('tally', statement => $$
	WITH known AS (SELECT count(*) AS events FROM regress_projection_statement.new_events)
	INSERT INTO tally AS t SELECT b.type, b.n FROM batch_types() b, known
	ON CONFLICT (type) DO UPDATE SET n = t.n + EXCLUDED.n$$);

-- Several statements make one batch, and one may call a function that does it all.
CREATE TABLE order_line (stream text, line jsonb);
CREATE TABLE placed (stream text);
SELECT evstore.create_projection('order_line', read_table => 'order_line', statement => $$
	INSERT INTO order_line SELECT stream, line FROM new_events, jsonb_array_elements(data->'lines') line;
	INSERT INTO placed SELECT stream FROM new_events WHERE type = 'OrderPlaced' ORDER BY position$$);
CREATE TABLE batch (events bigint);
CREATE FUNCTION note_batch() RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	INSERT INTO batch SELECT count(*) FROM new_events;
END
$$;
SELECT evstore.create_projection('batch', batch_size => 3, statement => 'SELECT note_batch()');

-- Events made from events.
SELECT evstore.create_event_table('alarm');
SELECT evstore.create_projection('alarm', statement => $$
	INSERT INTO alarm (stream, type, data)
	SELECT 'alarm-' || stream, 'LargeOrder', data FROM new_events
	WHERE type = 'OrderPlaced' AND (data->>'total')::numeric > 15 ORDER BY position$$);

SELECT version FROM evstore.append('order-4', evstore.events('[
	{"type": "OrderPlaced", "data": {"total": 40, "lines": [{"item": "pen"}, {"item": "ink"}]}}, {"type": "ItemSold", "data": {"item": "pen", "quantity": 3}},
	{"type": "ItemSold", "data": {"item": "ink", "quantity": 1}}, {"type": "OrderClosed", "data": {}}]'));
SELECT version FROM evstore.append('order-5', 'ItemSold', '{"item": "pen", "quantity": 2}');
SELECT evstore.wait_for('stock'), evstore.wait_for('watchlist'), evstore.wait_for('open_order'), evstore.wait_for('tally'), evstore.wait_for('alarm'),
	evstore.wait_for('order_line'), evstore.wait_for('batch');
TABLE stock ORDER BY item;
TABLE watchlist;
SELECT stream FROM open_order ORDER BY stream;
SELECT type, n FROM tally ORDER BY type;
SELECT t.type FROM tally t FULL JOIN (SELECT type, count(*) AS n FROM events GROUP BY type) e USING (type, n) WHERE t.type IS NULL OR e.type IS NULL;
SELECT stream, version, type, data FROM alarm ORDER BY position;
SELECT stream, line FROM order_line;
SELECT stream FROM placed;
SELECT sum(events) = (SELECT count(*) FROM events) AS every_event, max(events) <= 3 AS small_batches FROM batch;

-- The statement keeps the settings it was made under: unqualified names mean
-- what they meant.
SET search_path = pg_catalog;
SELECT version FROM evstore.append('order-6', 'OrderPlaced', '{"total": 1}', event_table => 'regress_projection_statement.events');
SET search_path = regress_projection_statement;
SELECT evstore.wait_for('order_summary');
SELECT stream, total, status FROM order_summary WHERE stream = 'order-6';

-- A projection that has no event to apply still comes along.
SELECT evstore.create_event_table('quiet');
CREATE TABLE quiet_copy (LIKE copy);
SELECT evstore.create_projection('quiet_copy', event_table => 'quiet', statement => 'INSERT INTO quiet_copy ("position") SELECT position FROM new_quiet');
SELECT version FROM evstore.append('order-6', 'OrderPaid', '{}');
SELECT evstore.wait_for('quiet_copy');
SELECT count(*) FROM quiet_copy;

-- What a statement locks for its session is let go with its batch.
SELECT evstore.create_projection('locking', statement => 'SELECT pg_advisory_lock(4711), pg_advisory_lock_shared(4712) FROM new_events');
SELECT evstore.wait_for('locking');
SET lock_timeout = '30s';
SELECT pg_advisory_lock(4711), pg_advisory_lock(4712);
SELECT pg_advisory_unlock_all();
RESET lock_timeout;
SELECT evstore.drop_projection('locking');

-- How the view shows them: a statement's tables are its owner's own affair.
SELECT name, kind, mode, event_table, read_table FROM evstore.projections ORDER BY name;

-- What is not such a statement.
CREATE TABLE refused (stream text);
SELECT evstore.create_projection('p', statement => 'SELECT * INTO elsewhere FROM new_events');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement => 'TRUNCATE refused');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement => 'CREATE TABLE elsewhere AS SELECT * FROM new_events');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement => 'COMMIT');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement => '');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement => 'INSERT INTO refused SELECT stream FROM');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement => 'INSERT INTO nosuch SELECT stream FROM new_events');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement => 'INSERT INTO refused SELECT nosuch FROM new_events');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement => 'INSERT INTO refused SELECT $1 FROM new_events');
\echo :SQLSTATE
SELECT evstore.create_projection('p', statement =>
	'INSERT INTO refused SELECT stream FROM new_events; TRUNCATE refused');
\echo :SQLSTATE
SELECT evstore.create_projection('p', event_table => 'refused', statement => 'INSERT INTO refused SELECT stream FROM new_events');
\echo :SQLSTATE
SELECT evstore.create_projection('p', read_table => 'nosuch', statement => 'INSERT INTO refused SELECT stream FROM new_events');
\echo :SQLSTATE
-- an unlogged read table would be empty after a crash, its checkpoint not
CREATE UNLOGGED TABLE hasty (stream text);
SELECT evstore.create_projection('p', read_table => 'hasty', statement => 'INSERT INTO hasty SELECT stream FROM new_events');
\echo :SQLSTATE
SELECT name FROM evstore.projections WHERE name = 'p';

-- The batch views of two event tables: no event of either is passed over, whichever comes first, and alone.
SELECT evstore.create_event_table('other');
CREATE TABLE both_tables (stream text, n bigint);
SELECT evstore.create_projection('both_tables', read_table => 'both_tables', statement => $$
	INSERT INTO both_tables SELECT stream, version FROM new_events UNION ALL SELECT stream, version FROM new_other$$);
SELECT evstore.wait_for('both_tables');
TRUNCATE both_tables;
SELECT version FROM evstore.append('other-1', 'T', '{}', event_table => 'other');
SELECT evstore.wait_for('both_tables');
SELECT version FROM evstore.append('order-8', 'T', '{}');
SELECT evstore.wait_for('both_tables');
SELECT version FROM evstore.append('other-1', 'T', '{}', event_table => 'other');
SELECT evstore.wait_for('both_tables');
TABLE both_tables ORDER BY stream, n;
SELECT event_table FROM evstore.projections WHERE name = 'both_tables';

-- Dropping the projection leaves its tables; the batch it has applied stays applied.
SELECT evstore.drop_projection('order_summary');
SELECT version FROM evstore.append('order-1', 'OrderClosed', '{}');
SELECT status FROM order_summary WHERE stream = 'order-1';

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_statement CASCADE;
