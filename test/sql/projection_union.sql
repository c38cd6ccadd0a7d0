-- Several event tables in one query: UNION ALL in FROM stands where one event
-- table would.

CREATE SCHEMA regress_projection_union;
SET search_path = regress_projection_union;
SELECT evstore.create_event_table();
SELECT evstore.create_event_table('payments');
SELECT evstore.create_event_table('refunds');
CREATE TABLE country (code text PRIMARY KEY, name text);
INSERT INTO country VALUES ('de', 'Germany'), ('fr', 'France');

CREATE TABLE query (n integer GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, query text NOT NULL);
INSERT INTO query (name, query) VALUES
('balance', $$
	SELECT e.customer, sum(e.amount) AS balance, count(*) AS entries, evstore.last(e.what, e.position) AS last, string_agg(e.what, ' ' ORDER BY e.position) AS history
	FROM (SELECT position, data->>'customer' AS customer, (data->>'total')::numeric AS amount, 'order' AS what FROM events WHERE type = 'OrderPlaced'
		UNION ALL SELECT position, data->>'customer', -(data->>'amount')::numeric, 'payment' FROM payments
		UNION ALL SELECT r.position, r.data->>'customer', (r.data->>'amount')::numeric, r.type FROM refunds AS r) e
	GROUP BY e.customer$$),
('all_events', $$
	SELECT split_part(stream, '-', 1) AS category, count(*) AS n, max(position) AS last, array_agg(type ORDER BY position) AS types
	FROM (SELECT * FROM events UNION ALL (SELECT * FROM payments UNION ALL SELECT * FROM events WHERE type = 'OrderPlaced')) AS e
	GROUP BY 1$$),
('joined', $$
	SELECT c.name, count(*) AS n, 100 * sum(e.paid) / count(*) AS paid_percent
	FROM country c RIGHT JOIN (SELECT data->>'country' AS country, 0 AS paid FROM events UNION ALL SELECT data->>'country', 1 FROM payments) e ON c.code = e.country
	GROUP BY c.name HAVING count(*) > 0$$),
('total', $$
	SELECT count(*) AS n, stddev(e.version) AS deviation FROM (SELECT version FROM events UNION ALL SELECT version FROM refunds) e$$);
CREATE FUNCTION differences(read_table regclass, query text) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
	columns text;
	result bigint;
BEGIN
	SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
	FROM pg_attribute WHERE attrelid = read_table AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\_%';
	EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL (%3$s)) UNION ALL ((%3$s) EXCEPT ALL SELECT %1$s FROM %2$s)) d',
		columns, read_table, query) INTO result;
	RETURN result;
END
$$;

-- One half begins before the events, one half after some.
SELECT name, evstore.create_projection(name, query => query) FROM query WHERE n % 2 = 0 ORDER BY n;
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"customer": "Ann", "total": 100, "country": "de"}');
SELECT version FROM evstore.append('payment-1', 'Paid', '{"customer": "Ann", "amount": 60, "country": "de"}', event_table => 'payments');
SELECT name, evstore.create_projection(name, query => query) FROM query WHERE n % 2 = 1 ORDER BY n;
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
-- Each table by itself moves them, and one transaction with all of them is one step.
SELECT version FROM evstore.append('refund-1', 'damaged', '{"customer": "Ann", "amount": 10}', event_table => 'refunds');
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
BEGIN;
SELECT version FROM evstore.append('payment-1', 'Paid', '{"customer": "Ben", "amount": 5, "country": "xx"}', event_table => 'payments');
SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{"customer": "Ben", "total": 5}');
SELECT version FROM evstore.append('refund-1', 'late', '{"customer": "Ann", "amount": 1}', event_table => 'refunds');
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{"country": "fr"}');
COMMIT;
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
SELECT customer, balance, entries, last, history FROM balance ORDER BY customer;
SELECT category, n, types FROM all_events ORDER BY category;
SELECT name, n, paid_percent FROM joined ORDER BY name;
SELECT name, event_table, lag_events, lag_seconds FROM evstore.projections ORDER BY name;
SELECT p.name, p.event_tables FROM evstore._projection p ORDER BY p.name;

-- While it is behind, its lag is that of the first event of any of them.
SELECT evstore.pause_projection('balance');
SELECT version FROM evstore.append('refund-1', 'late', '{"customer": "Ann", "amount": 1}', event_table => 'refunds');
SELECT lag_events, lag_seconds > 0 AS late FROM evstore.projections WHERE name = 'balance';
SELECT evstore.resume_projection('balance');
SELECT evstore.wait_for('balance');

-- None of them can be dropped, and policies of none may bind the owner.
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('refunds');
\echo :SQLSTATE
DROP TABLE payments;
\echo :SQLSTATE
RESET evstore.maintenance;
CREATE ROLE regress_projection_union;
GRANT USAGE, CREATE ON SCHEMA regress_projection_union TO regress_projection_union;
GRANT SELECT ON events, payments TO regress_projection_union;
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
SET ROLE regress_projection_union;
SELECT evstore.create_projection('bound', query => 'SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments) e');
\echo :SQLSTATE
SELECT evstore.create_projection('forbidden', query => 'SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM refunds) e');
\echo :SQLSTATE
RESET ROLE;
ALTER TABLE payments DISABLE ROW LEVEL SECURITY;

-- An event table that is given must be one of them.
BEGIN;
SELECT evstore.create_projection('given', event_table => 'payments', query => 'SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments) e');
ROLLBACK;
SELECT evstore.create_projection('given', event_table => 'refunds', query => 'SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments) e');
\echo :SQLSTATE

-- An event that fails is found in whichever table it is.
SELECT evstore.create_projection('amounts', on_error => 'skip', retries => 0, query => $$
	SELECT e.source, sum(e.amount) AS amount FROM (SELECT 'r' AS source, (data->>'amount')::numeric AS amount FROM refunds
		UNION ALL SELECT 'p', (data->>'amount')::numeric FROM payments) e GROUP BY e.source$$);
SELECT version FROM evstore.append('payment-2', 'Garbled', '{"amount": "much"}', event_table => 'payments');
SELECT version FROM evstore.append('payment-2', 'Paid', '{"amount": 7}', event_table => 'payments');
SELECT evstore.wait_for('amounts');
SELECT source, amount FROM amounts ORDER BY source;
SELECT projection, stream, version, type, sqlstate FROM evstore.skipped_events;
SELECT evstore.drop_projection('amounts');
SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections WHERE name = 'balance';

-- What is refused.
\set VERBOSITY terse
\set SHOW_CONTEXT never
CREATE PROCEDURE refuse(queries text[]) LANGUAGE plpgsql AS
$$
DECLARE
	query text;
	hint text;
BEGIN
	FOREACH query IN ARRAY queries LOOP
		BEGIN
			PERFORM evstore.create_projection('p', query => query);
			RAISE EXCEPTION 'ALLOWED';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
			RAISE INFO '%', concat_ws(E'\n\t', query, SQLSTATE || ' ' || SQLERRM, 'HINT: ' || nullif(hint, ''));
		END;
	END LOOP;
END
$$;
CALL refuse(ARRAY[
	$$SELECT count(*) AS n FROM (SELECT type FROM events) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION SELECT type FROM payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events EXCEPT ALL SELECT type FROM payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL (SELECT type FROM payments INTERSECT ALL SELECT type FROM refunds)) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments LIMIT 5) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments ORDER BY 1) e$$,
	$$SELECT count(*) AS n FROM (WITH w AS (SELECT 1) SELECT type FROM events UNION ALL SELECT type FROM payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL (SELECT type FROM payments LIMIT 5)) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT DISTINCT type FROM payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT max(type) FROM payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments GROUP BY type) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type || row_number() OVER () FROM payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT jsonb_object_keys(data) FROM payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT name FROM country) e$$,
	$$SELECT count(*) AS n FROM (SELECT code FROM country UNION ALL SELECT name FROM country) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM new_payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT 'x') e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL VALUES ('x')) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT p.type FROM payments p JOIN country ON code = type) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments TABLESAMPLE system (5)) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT b FROM payments p (a, b)) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments WHERE type IN (SELECT name FROM country)) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments WHERE recorded_at < now()) e$$,
	$$SELECT count(*) AS n FROM (SELECT random() AS r FROM events UNION ALL SELECT 1 FROM payments) e$$,
	$$SELECT count(*) AS n FROM refunds r, (SELECT type FROM events UNION ALL SELECT type FROM payments) e$$,
	$$SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM payments) e, (SELECT type FROM events UNION ALL SELECT type FROM refunds) f$$,
	$$SELECT count(*) AS n FROM country c, LATERAL (SELECT type FROM events WHERE type = c.code UNION ALL SELECT type FROM payments) e$$,
	$$SELECT count(*) AS n FROM country c LEFT JOIN (SELECT type FROM events UNION ALL SELECT type FROM payments) e ON e.type = c.code$$,
	$$SELECT array_agg(e.type ORDER BY e.position) AS n FROM (SELECT type, position FROM events UNION ALL SELECT type, version FROM payments) e$$,
	$$SELECT array_agg(e.type ORDER BY e.version) AS n FROM (SELECT type, version FROM events UNION ALL SELECT type, version FROM payments) e$$,
	$$SELECT count(*) AS n FROM events UNION ALL SELECT count(*) FROM payments$$]);

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_union CASCADE;
DROP ROLE regress_projection_union;
