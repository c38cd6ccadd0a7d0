-- Inline projections over several event tables: whatever is added to any of them
-- is applied by whoever adds it, and a switch is one for all of them.

\set SHOW_CONTEXT never
CREATE SCHEMA regress_inline_tables;
SET search_path = regress_inline_tables;
SELECT evstore.create_event_table();
SELECT evstore.create_event_table('payments');
SELECT evstore.create_event_table('refunds');
SELECT evstore.create_event_table('others');
-- A trigger is dropped only where nobody else uses the table.
ALTER TABLE events SET (autovacuum_enabled = off);
ALTER TABLE payments SET (autovacuum_enabled = off);
ALTER TABLE refunds SET (autovacuum_enabled = off);
CREATE VIEW triggers AS SELECT tgrelid::regclass::text AS "on", tgenabled AS enabled FROM pg_trigger
WHERE tgname = 'evstore_inline' AND tgrelid::regclass::text IN ('events', 'payments', 'refunds', 'others');

-- What the read tables must be: a query over three tables, one that is stored as states, and a statement over two.
CREATE VIEW right_balance AS
	SELECT e.customer, sum(e.amount) AS balance, count(*) AS entries, evstore.last(e.what, e.position) AS last
	FROM (SELECT position, data->>'customer' AS customer, (data->>'total')::numeric AS amount, 'order' AS what FROM events WHERE type = 'Placed'
		UNION ALL SELECT position, data->>'customer', -(data->>'amount')::numeric, 'payment' FROM payments
		UNION ALL SELECT position, data->>'customer', (data->>'amount')::numeric, type FROM refunds) e
	GROUP BY e.customer;
CREATE VIEW right_spread AS
	SELECT count(*) AS n, round(stddev(e.version), 6) AS deviation FROM (SELECT version FROM events UNION ALL SELECT version FROM payments) e;
CREATE VIEW right_journal AS
	SELECT position, 'events' AS source, stream, version FROM events UNION ALL SELECT position, 'payments', stream, version FROM payments;
CREATE TABLE journal ("position" bigint, source text, stream text, version bigint);
SET check_function_bodies = off;
CREATE FUNCTION wrong() RETURNS TABLE (what text) LANGUAGE sql AS $$
	SELECT 'balance: ' || r::text FROM ((SELECT customer, balance, entries, last FROM balance EXCEPT ALL TABLE right_balance)
		UNION ALL (TABLE right_balance EXCEPT ALL SELECT customer, balance, entries, last FROM balance)) r
	UNION ALL
	SELECT 'spread: ' || r::text FROM ((SELECT n, deviation FROM spread EXCEPT ALL TABLE right_spread)
		UNION ALL (TABLE right_spread EXCEPT ALL SELECT n, deviation FROM spread)) r
	UNION ALL
	SELECT 'journal: ' || r::text FROM ((TABLE journal EXCEPT ALL TABLE right_journal)
		UNION ALL (TABLE right_journal EXCEPT ALL TABLE journal)) r $$;
RESET check_function_bodies;
CREATE FUNCTION make(name text, mode text) RETURNS void LANGUAGE sql BEGIN ATOMIC
	SELECT CASE name WHEN 'journal' THEN evstore.create_projection(name, mode => mode, read_table => 'journal', statement => $$
			INSERT INTO journal SELECT position, 'events', stream, version FROM new_events
			UNION ALL SELECT position, 'payments', stream, version FROM new_payments$$)
		WHEN 'balance' THEN evstore.create_projection(name, mode => mode, query => $$
			SELECT e.customer, sum(e.amount) AS balance, count(*) AS entries, evstore.last(e.what, e.position) AS last
			FROM (SELECT position, data->>'customer' AS customer, (data->>'total')::numeric AS amount, 'order' AS what FROM events WHERE type = 'Placed'
				UNION ALL SELECT position, data->>'customer', -(data->>'amount')::numeric, 'payment' FROM payments
				UNION ALL SELECT position, data->>'customer', (data->>'amount')::numeric, type FROM refunds) e
			GROUP BY e.customer$$)
		WHEN 'spread' THEN evstore.create_projection(name, mode => mode, query => $$
			SELECT count(*) AS n, round(stddev(e.version), 6) AS deviation FROM (SELECT version FROM events UNION ALL SELECT version FROM payments) e$$)
		END;
END;
CREATE FUNCTION place(customer text, total text) RETURNS void LANGUAGE sql AS
	$$SELECT evstore.append('order-' || customer, 'Placed', jsonb_build_object('customer', customer, 'total', total))$$;
CREATE FUNCTION pay(customer text, amount text) RETURNS void LANGUAGE sql AS
	$$SELECT evstore.append('payment-' || customer, 'Paid', jsonb_build_object('customer', customer, 'amount', amount), event_table => 'payments')$$;
CREATE FUNCTION refund(customer text, amount text) RETURNS void LANGUAGE sql AS
	$$SELECT evstore.append('refund-' || customer, 'Refunded', jsonb_build_object('customer', customer, 'amount', amount), event_table => 'refunds')$$;

-- What there is in all of the tables is applied by the declaration, with what its transaction has appended.
SELECT place('Ann', '1'), pay('Ann', '2'), refund('Ann', '4');
BEGIN;
SELECT place('Ann', '8'), pay('Ann', '16'), refund('Ann', '32');
SELECT make('balance', 'inline'), make('spread', 'inline'), make('journal', 'inline');
SELECT wrong();
SELECT place('Ann', '64'), pay('Ann', '128'), refund('Ann', '256');
SELECT wrong();
COMMIT;
SELECT wrong();
SELECT customer, balance, entries, last FROM balance;
SELECT n FROM spread;
SELECT source, count(*) FROM journal GROUP BY source ORDER BY source;
SELECT * FROM triggers ORDER BY 1;
SELECT name, mode, state, lag_events, lag_seconds FROM evstore.projections ORDER BY name;

-- Every event once, in whichever table and by whatever way it comes, and one transaction may add to all.
BEGIN;
SELECT place('Ben', '10');
SELECT wrong();
SELECT pay('Ben', '20');
SELECT wrong();
SELECT refund('Ben', '40');
SELECT wrong();
SELECT version FROM evstore.append_if(evstore.events('[{"type": "Paid", "data": {"customer": "Ben", "amount": 80}, "tags": ["t"]}]'),
	'{"items": [{"tags": ["t"]}]}', event_table => 'payments');
SELECT wrong();
SELECT stream, version FROM evstore.append_streams(ARRAY[
	('payment-1', evstore.events('[{"type": "Paid", "data": {"customer": "Ben", "amount": 1}}, {"type": "Paid", "data": {"customer": null, "amount": 2}}]'), 0)::evstore.stream_append,
	('payment-2', evstore.events('[{"type": "Paid", "data": {"customer": "Cal", "amount": 3}}]'), 0)::evstore.stream_append], event_table => 'payments');
SELECT wrong();
INSERT INTO events (stream, type, data) SELECT 'order-' || i % 3, 'Placed', jsonb_build_object('customer', 'c' || i % 4, 'total', i) FROM generate_series(1, 20) i;
SELECT wrong();
INSERT INTO payments (stream, type, data) SELECT 'payment-' || i % 3, 'Paid', jsonb_build_object('customer', 'c' || i % 4, 'amount', i) FROM generate_series(1, 20) i;
SELECT wrong();
COPY payments (stream, type, data) FROM stdin;
payment-1	Paid	{"customer": "Ann", "amount": 100}
payment-7	Paid	{"customer": "Dot", "amount": 200}
\.
SELECT wrong();
COPY refunds (stream, type, data) FROM stdin;
refund-1	Late	{"customer": "Ann", "amount": 100}
\.
SELECT wrong();
-- One statement adds to two tables, in turns: positions of the one lie between those of the other.
WITH p AS (INSERT INTO payments (stream, type, data) SELECT 'payment-w', 'Paid', jsonb_build_object('customer', 'w' || i % 2, 'amount', i) FROM generate_series(1, 6) i RETURNING *)
INSERT INTO events (stream, type, data) SELECT 'order-w', 'Placed', jsonb_build_object('customer', data->>'customer', 'total', data->>'amount') FROM p;
SELECT bool_or(p.position > e.position) AND bool_or(p.position < e.position) AS in_turns
FROM payments p, events e WHERE p.stream = 'payment-w' AND e.stream = 'order-w';
SELECT wrong();
SAVEPOINT s;
SELECT place('Eve', '1'), pay('Eve', '2');
ROLLBACK TO s;
SELECT pay('Eve', '4');
SELECT wrong();
COMMIT;
SELECT wrong();
SELECT version FROM evstore.append('bulk', (SELECT array_agg(('Paid', jsonb_build_object('customer', 'c' || n % 5, 'amount', n), NULL, NULL, NULL, NULL)::evstore.new_event)
	FROM generate_series(1, 6000) n), event_table => 'payments');
SELECT wrong();
SELECT count(*) FROM evstore.verify_projection('balance');
SELECT count(*) FROM evstore.verify_projection('spread');

-- What comes into another table is not theirs, and a handler's appends are, wherever they go.
SELECT version FROM evstore.append('other-1', 'Paid', '{"customer": "Ann", "amount": "much"}', event_table => 'others');
SELECT wrong();
CREATE FUNCTION forward(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pay('Flo', e.data->>'amount');
	PERFORM place('Flo', e.data->>'amount');
END $$;
SELECT evstore.create_projection('forward', mode => 'inline', handlers => '{"Forwarded": "forward"}', event_table => 'others');
SELECT version FROM evstore.append('other-1', evstore.events('[{"type": "Forwarded", "data": {"amount": 5}}, {"type": "Forwarded", "data": {"amount": 6}}]'), event_table => 'others');
SELECT customer, balance, entries FROM balance WHERE customer = 'Flo';
SELECT wrong();
SELECT evstore.drop_projection('forward');

-- An error aborts the append to whichever of them, and leaves nothing of it in the others.
\set VERBOSITY terse
SELECT place('Ann', 'much');
SELECT pay('Ann', 'much');
\echo :SQLSTATE
\set VERBOSITY default
BEGIN;
SELECT place('Gus', '1');
SAVEPOINT s;
SELECT place('Gus', '2');
\set VERBOSITY terse
SELECT pay('Gus', 'much');
\set VERBOSITY default
ROLLBACK TO s;
SELECT pay('Gus', '4');
COMMIT;
SELECT customer, balance, entries FROM balance WHERE customer = 'Gus';
SELECT wrong();

-- Whatever is committed is there, in the second table as in the first.
SELECT evstore.wait_for('balance', (SELECT max("position") FROM payments)), evstore.wait_for('balance');
SELECT evstore.wait_for('balance', (SELECT max("position") FROM payments) + 1000000, '20 ms');

-- There and back, with events of all tables in between and in the same transaction.
SELECT current_setting('lock_timeout') AS lock_timeout, current_setting('deadlock_timeout') AS deadlock_timeout \gset
SELECT evstore.set_projection(name, mode => 'async') FROM evstore.projections ORDER BY name;
SELECT current_setting('lock_timeout') = :'lock_timeout' AND current_setting('deadlock_timeout') = :'deadlock_timeout' AS same;
SELECT * FROM triggers;
SELECT place('Hal', '1'), pay('Hal', '2'), refund('Hal', '4');
SELECT bool_and(evstore.wait_for(name)) AS followed FROM evstore.projections;
SELECT wrong();
BEGIN;
SELECT pay('Hal', '8'), place('Hal', '16');
SELECT evstore.set_projection('balance', mode => 'inline'), evstore.set_projection('journal', mode => 'inline');
SELECT refund('Hal', '32'), pay('Hal', '64');
SELECT evstore.set_projection('balance', mode => 'async');
SELECT current_setting('lock_timeout') = :'lock_timeout' AND current_setting('deadlock_timeout') = :'deadlock_timeout' AS same;
SELECT pay('Hal', '128'), place('Hal', '256');
SAVEPOINT s;
SELECT evstore.set_projection('balance', mode => 'inline');
SELECT pay('Hal', '512');
ROLLBACK TO s;
SELECT pay('Hal', '1024');
COMMIT;
SELECT bool_and(evstore.wait_for(name)) AS followed FROM evstore.projections;
SELECT wrong();
SELECT customer, balance, entries FROM balance WHERE customer = 'Hal';
SELECT * FROM triggers ORDER BY 1;
SELECT evstore.set_projection('spread', mode => 'inline'), evstore.set_projection('balance', mode => 'inline');
SELECT pay('Hal', '2048'), refund('Hal', '1'), place('Hal', '1');
SELECT wrong();
-- A trigger goes with the last projection that needs it.
SELECT evstore.set_projection('balance', mode => 'async');
SELECT * FROM triggers ORDER BY 1;
SELECT evstore.set_projection('balance', mode => 'inline');
SELECT evstore.drop_projection('spread');
SELECT * FROM triggers ORDER BY 1;
SELECT evstore.drop_projection('journal');
SELECT * FROM triggers ORDER BY 1;
SELECT evstore.drop_projection('balance');
SELECT * FROM triggers ORDER BY 1;
TRUNCATE journal;
SELECT make('balance', 'inline'), make('spread', 'inline'), make('journal', 'async');
SELECT evstore.set_projection('journal', mode => 'inline');
SELECT wrong();

-- Events that are restored into any of them: applied, but no way to switch in the same transaction.
SELECT greatest((SELECT max("position") FROM events), (SELECT max("position") FROM payments)) + 1000 AS free \gset
INSERT INTO payments ("position", version, recorded_at, schema_version, stream, type, data)
SELECT :free - i, 100 - i, now(), 1, 'restored', 'Paid', jsonb_build_object('customer', 'restored', 'amount', i) FROM unnest('{5,4,3,1,9}'::int[]) i ORDER BY i;
SELECT wrong();
BEGIN;
INSERT INTO payments ("position", version, recorded_at, schema_version, stream, type, data)
VALUES (:free + 1000, 200, now(), 1, 'restored', 'Paid', '{"customer": "restored", "amount": 1}');
SELECT evstore.set_projection('balance', mode => 'async');
ROLLBACK;

-- ... nor into an empty one at positions that others may have: those would be applied once more.
SELECT evstore.create_event_table('archive');
SELECT evstore.create_projection('with_archive', mode => 'inline', query => 'SELECT e.type, count(*) AS n FROM (SELECT type FROM refunds UNION ALL SELECT type FROM archive) e GROUP BY e.type');
SELECT evstore.create_projection('archive_alone', mode => 'inline', query => 'SELECT type, count(*) AS n FROM archive GROUP BY type');
INSERT INTO archive SELECT * FROM refunds;
\echo :SQLSTATE
SELECT sum(n) = (SELECT count(*) FROM refunds) AS same FROM with_archive;
BEGIN;
SAVEPOINT s;
\set VERBOSITY terse
INSERT INTO archive SELECT * FROM refunds;
\set VERBOSITY default
ROLLBACK TO s;
SELECT version FROM evstore.append('a-1', 'Refunded', '{}', event_table => 'archive');
COMMIT;
SELECT sum(n) = (SELECT count(*) FROM refunds) + 1 AS same FROM with_archive;
SELECT sum(n) FROM archive_alone;
SELECT evstore.drop_projection('with_archive'), evstore.drop_projection('archive_alone');
SET evstore.maintenance = on;
SET client_min_messages = warning;
SELECT evstore.drop_event_table('archive');
RESET client_min_messages;
RESET evstore.maintenance;

-- Shapes that events of one of them had.
SELECT version FROM evstore.append('payment-old', 'PaidUp', '{"customer": "Jo", "sum": 7}', event_table => 'payments');
CREATE FUNCTION paid_2(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN data - 'sum' || jsonb_build_object('amount', data->'sum');
SET client_min_messages = warning;
SELECT evstore.create_upcaster('PaidUp', 1, 'paid_2', 'payments');
RESET client_min_messages;
SELECT version FROM evstore.append('payment-old', 'PaidUp', '{"customer": "Jo", "sum": 8}', event_table => 'payments');
SELECT version FROM evstore.append('payment-old', 'PaidUp', '{"customer": "Jo", "amount": 9}', event_table => 'payments', schema_version => 2);
SELECT customer, balance, entries FROM balance WHERE customer = 'Jo';
SELECT evstore.drop_upcaster('PaidUp', 1, 'payments');

-- Without its trigger on one of them, it is detached.
SET evstore.maintenance = on;
ALTER TABLE payments DISABLE TRIGGER evstore_inline;
SELECT name, state FROM evstore.projections ORDER BY name;
ALTER TABLE payments ENABLE ALWAYS TRIGGER evstore_inline;
RESET evstore.maintenance;
SELECT name, state FROM evstore.projections ORDER BY name;

-- None of the tables can be dropped, and TRIGGER is needed on each.
DROP VIEW right_balance, right_spread, right_journal;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('refunds');
\echo :SQLSTATE
RESET evstore.maintenance;
CREATE ROLE regress_inline_tables;
GRANT USAGE, CREATE ON SCHEMA regress_inline_tables TO regress_inline_tables;
GRANT SELECT ON events, payments TO regress_inline_tables;
GRANT TRIGGER ON events TO regress_inline_tables;
SET ROLE regress_inline_tables;
SELECT evstore.create_projection('bound', mode => 'inline', query => 'SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments) e');
\echo :SQLSTATE
RESET ROLE;
GRANT TRIGGER ON payments TO regress_inline_tables;
SET ROLE regress_inline_tables;
SELECT evstore.create_projection('bound', mode => 'inline', query => 'SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments) e');
SELECT n = (SELECT count(*) FROM events) + (SELECT count(*) FROM payments) AS all FROM bound;
RESET ROLE;
SELECT pay('Kim', '1');
SELECT n = (SELECT count(*) FROM events) + (SELECT count(*) FROM payments) AS all FROM bound;

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SELECT * FROM triggers;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_inline_tables CASCADE;
DROP ROLE regress_inline_tables;
