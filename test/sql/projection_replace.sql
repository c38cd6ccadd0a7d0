-- Replacing projections: another query, statement or handler, applied to all
-- events beside the old one, and put in place.

CREATE SCHEMA regress_projection_replace;
SET search_path = regress_projection_replace;
SELECT evstore.create_event_table();
CREATE FUNCTION replaced(name text) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
	FOR i IN 1..6000 LOOP
		IF NOT EXISTS (SELECT FROM evstore.rebuild_progress WHERE projection = name) THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END
$$;
CREATE FUNCTION fails(name text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	error text;
BEGIN
	FOR i IN 1..6000 LOOP
		SELECT split_part(last_error, E'\n', 1) INTO error FROM evstore.rebuild_progress WHERE projection = name AND state = 'failing';
		EXIT WHEN FOUND;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN error;
END
$$;
SELECT evstore.create_projection('orders_by_region', query => $$
	SELECT data->>'region' AS region, count(*) AS orders, sum((data->>'total')::numeric) AS revenue
	FROM events WHERE type = 'OrderPlaced' GROUP BY data->>'region'$$);
CREATE TABLE order_state (stream text PRIMARY KEY, state text);
SELECT evstore.create_projection('order_state', batch_size => 3, read_table => 'order_state', statement => $$
	INSERT INTO order_state AS o SELECT stream, evstore.last(type, position) FROM new_events GROUP BY stream
	ON CONFLICT (stream) DO UPDATE SET state = EXCLUDED.state$$);
SELECT count(*) FROM generate_series(1, 20) g, LATERAL evstore.append('order-' || g % 6, CASE WHEN g > 12 THEN 'OrderPaid' ELSE 'OrderPlaced' END,
	jsonb_build_object('region', CASE g % 3 WHEN 0 THEN 'north' WHEN 1 THEN 'south' END, 'total', g, 'channel', 'c' || g % 2)) a;
SELECT evstore.wait_for('orders_by_region'), evstore.wait_for('order_state');
TABLE orders_by_region ORDER BY region;
GRANT SELECT ON orders_by_region TO PUBLIC;
CREATE INDEX orders_by_region_orders ON orders_by_region (orders);
ALTER TABLE orders_by_region ADD COLUMN note text DEFAULT 'none';
SELECT pg_relation_filenode('orders_by_region') AS filenode, 'orders_by_region'::regclass::oid AS oid \gset

-- The same shape, another content.
SELECT evstore.replace_projection('orders_by_region', query => $$
	SELECT data->>'region' AS region, count(*) AS orders, sum(2 * (data->>'total')::numeric) AS revenue
	FROM events WHERE type = 'OrderPlaced' GROUP BY data->>'region'$$);
SELECT replaced('orders_by_region');
SELECT region, orders, revenue, note FROM orders_by_region ORDER BY region;
SELECT pg_relation_filenode('orders_by_region') = :filenode AS same_table;

-- Columns come and go, one gets another type, another collation; the key stays.
SELECT evstore.replace_projection('orders_by_region', query => $$
	SELECT data->>'region' AS region, max((data->>'total')::integer) AS orders, avg((data->>'total')::numeric) AS average, max(stream) AS "last Stream"
	FROM events WHERE type = 'OrderPlaced' GROUP BY data->>'region'$$);
-- meanwhile it is what it was, and follows
SELECT replaced('orders_by_region');
SELECT region, orders, round(average, 2) AS average, "last Stream", note FROM orders_by_region ORDER BY region;
SELECT attname, format_type(atttypid, atttypmod), collname FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation
WHERE attrelid = 'orders_by_region'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT indexrelid::regclass, indnullsnotdistinct FROM pg_index WHERE indrelid = 'orders_by_region'::regclass ORDER BY 1;
SELECT evstore.append('order-9', 'OrderPlaced', '{"region": "west", "total": 1000}') IS NOT NULL AS appended;
SELECT evstore.wait_for('orders_by_region');
SELECT region, orders, round(average, 2) AS average, "last Stream" FROM orders_by_region WHERE region = 'west';
SELECT * FROM evstore.verify_projection('orders_by_region');

-- Another key.
SELECT evstore.replace_projection('orders_by_region', query => $$
	SELECT data->>'region' AS region, data->>'channel' AS channel, count(*) AS orders
	FROM events WHERE type = 'OrderPlaced' GROUP BY data->>'region', data->>'channel'$$);
SELECT replaced('orders_by_region');
SELECT region, channel, orders FROM orders_by_region ORDER BY region, channel;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'orders_by_region'::regclass;
SELECT evstore.append('order-10', 'OrderPlaced', '{"region": "west", "channel": "c1"}') IS NOT NULL AS appended;
SELECT evstore.wait_for('orders_by_region');
SELECT * FROM evstore.verify_projection('orders_by_region');
SELECT 'orders_by_region'::regclass::oid = :oid AS same_table, relacl IS NOT NULL AS granted FROM pg_class WHERE oid = 'orders_by_region'::regclass;
SELECT definition LIKE '%channel%' AS kept, keys, columns FROM evstore._projection WHERE name = 'orders_by_region';
SELECT viewname LIKE '\_batch\_%' FROM pg_views WHERE schemaname = 'evstore' AND viewname LIKE '\_batch%';

-- A key that keeps its name and gets another type, length or collation.
SELECT evstore.create_projection('totals', query => $$
	SELECT data->>'total' AS total, count(*) AS orders FROM events WHERE data ? 'total' GROUP BY data->>'total'$$);
SELECT evstore.wait_for('totals');
SELECT evstore.replace_projection('totals', query => $$
	SELECT ((data->>'total')::numeric / 8)::numeric(9,1) AS total, count(*) AS orders FROM events WHERE data ? 'total' GROUP BY 1$$);
SELECT replaced('totals');
SELECT evstore.append('order-9', 'OrderPlaced', '{"total": 8}') IS NOT NULL AS appended;
SELECT evstore.wait_for('totals');
SELECT * FROM evstore.verify_projection('totals');
SELECT evstore.replace_projection('totals', query => $$
	SELECT ((data->>'total')::numeric / 8)::numeric(9,3) AS total, count(*) AS orders FROM events WHERE data ? 'total' GROUP BY 1$$);
SELECT replaced('totals');
SELECT * FROM evstore.verify_projection('totals');
SELECT total, orders FROM totals WHERE total < 1 ORDER BY total;
SELECT evstore.replace_projection('totals', query => $$
	SELECT (data->>'total') COLLATE "C" AS total, count(*) AS orders FROM events WHERE data ? 'total' GROUP BY 1$$);
SELECT replaced('totals');
SELECT evstore.replace_projection('totals', query => $$
	SELECT (data->>'total') COLLATE "POSIX" AS total, count(*) AS orders FROM events WHERE data ? 'total' GROUP BY 1$$);
SELECT replaced('totals');
SELECT evstore.append('order-9', 'OrderPlaced', '{"total": 8}') IS NOT NULL AS appended;
SELECT evstore.wait_for('totals');
SELECT * FROM evstore.verify_projection('totals');
SELECT attname, format_type(atttypid, atttypmod), collname FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation
WHERE attrelid = 'totals'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'totals'::regclass;
SELECT evstore.drop_projection('totals');

-- Fewer keys: rows that differed in the others only are one now. The same in another order: they stay.
CREATE DOMAIN present AS text NOT NULL;
SELECT evstore.create_projection('fewer', query => $$
	SELECT data->>'channel' AS channel, data->>'region' AS region, count(*) AS orders FROM events GROUP BY 1, 2$$);
SELECT evstore.wait_for('fewer');
ALTER TABLE fewer ADD COLUMN note text;
UPDATE fewer SET note = 'mine' WHERE region = 'north';
SELECT evstore.replace_projection('fewer', query => $$
	SELECT data->>'region' AS region, data->>'channel' AS channel, max(version) AS orders FROM events GROUP BY 1, 2$$);
SELECT replaced('fewer');
SELECT region, channel, orders, note FROM fewer WHERE note = 'mine' ORDER BY region, channel;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'fewer'::regclass;
-- fewer keys, but not while rows of somebody else would go with those that are there
ALTER TABLE fewer ADD COLUMN number integer GENERATED ALWAYS AS IDENTITY UNIQUE;
CREATE TABLE remark (number integer REFERENCES fewer (number) ON DELETE CASCADE);
SELECT evstore.replace_projection('fewer', query => $$
	SELECT data->>'region' AS region, count(*) AS orders FROM events GROUP BY 1$$);
\echo :SQLSTATE
DROP TABLE remark;
ALTER TABLE fewer DROP COLUMN number;
SELECT evstore.replace_projection('fewer', query => $$
	SELECT data->>'region' AS region, count(*) AS orders FROM events GROUP BY 1$$);
SELECT replaced('fewer');
SELECT region, orders, note FROM fewer ORDER BY region;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'fewer'::regclass;
-- a column that must not be null, which no row that is there could have
SELECT evstore.replace_projection('fewer', query => $$
	SELECT data->>'region' AS region, evstore.last(stream::present, position) AS stream FROM events GROUP BY 1$$);
SELECT replaced('fewer');
SELECT region, stream FROM fewer ORDER BY region;
SELECT evstore.drop_projection('fewer');
DROP DOMAIN present;

-- What hangs on a column that would go is named at once, and nothing is begun.
CREATE VIEW channels AS SELECT DISTINCT channel FROM orders_by_region;
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT data->>''region'' AS region, count(*) AS orders FROM events GROUP BY 1');
\echo :SQLSTATE
DROP VIEW channels;
CREATE TABLE target (region text, channel text, FOREIGN KEY (region, channel) REFERENCES orders_by_region (region, channel));
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT data->>''region'' AS region, data->>''channel'' AS channel, type, count(*) AS orders FROM events GROUP BY 1, 2, 3');
\echo :SQLSTATE
DROP TABLE target;
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT data->>''region'' AS region, count(*) AS note FROM events GROUP BY 1');
\echo :SQLSTATE
SELECT projection FROM evstore.rebuild_progress;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'evstore\_shadow%';
-- what comes to hang on it later is an error of the rebuild, and the projection goes on
SELECT evstore.pause_projection('orders_by_region');
BEGIN;
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT data->>''region'' AS region, count(*) AS orders FROM events GROUP BY 1');
CREATE VIEW channels AS SELECT DISTINCT channel FROM orders_by_region;
COMMIT;
SELECT fails('orders_by_region');
SELECT evstore.resume_projection('orders_by_region');
SELECT evstore.append('order-11', 'OrderPlaced', '{"region": "west", "channel": "c1"}') IS NOT NULL AS appended;
SELECT evstore.wait_for('orders_by_region');
SELECT orders FROM orders_by_region WHERE region = 'west' AND channel = 'c1';
SELECT evstore.cancel_rebuild('orders_by_region');
DROP VIEW channels;
-- a definition that fails on old events does so in the rebuild
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT data->>''region'' AS region, data->>''channel'' AS channel, sum((data->>''channel'')::integer) AS orders FROM events GROUP BY 1, 2');
SELECT fails('orders_by_region');
SELECT state, failures FROM evstore.projections WHERE name = 'orders_by_region';
SELECT evstore.cancel_rebuild('orders_by_region');

-- Statements and handlers keep their tables, and fill them again.
SELECT evstore.replace_projection('order_state', statement => $$
	INSERT INTO order_state AS o SELECT stream, lower(evstore.last(type, position)) FROM new_events GROUP BY stream
	ON CONFLICT (stream) DO UPDATE SET state = EXCLUDED.state$$);
SELECT replaced('order_state');
SELECT state, count(*) FROM order_state GROUP BY state ORDER BY state;
CREATE TABLE noted (type text PRIMARY KEY, n bigint DEFAULT 1);
CREATE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE sql AS $$
	INSERT INTO order_state VALUES (e.stream, 'version ' || e.version) ON CONFLICT (stream) DO UPDATE SET state = EXCLUDED.state;
	INSERT INTO noted VALUES (e.type) ON CONFLICT (type) DO UPDATE SET n = noted.n + 1
$$;
CREATE FUNCTION on_event_later(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM on_event(e);
END
$$;
SELECT evstore.replace_projection('order_state', handler => 'on_event_later', read_tables => '{order_state, noted}');
SELECT replaced('order_state');
SELECT kind, read_table FROM evstore.projections WHERE name = 'order_state';
SELECT count(*), min(state) FROM order_state;
SELECT noted = e FROM (SELECT jsonb_object_agg(type, n) AS noted FROM noted) n, (SELECT jsonb_object_agg(type, n) AS e FROM (SELECT type, count(*) AS n FROM events GROUP BY type) e) e;
SELECT * FROM evstore.verify_projection('order_state');
SELECT evstore.append('order-12', 'OrderPlaced', '{}') IS NOT NULL AS appended;
SELECT evstore.wait_for('order_state');
SELECT state FROM order_state WHERE stream = 'order-12';
SELECT evstore.replace_projection('order_state', handlers => '{"OrderPlaced": "on_event"}');
SELECT replaced('order_state');
SELECT type FROM noted;
SELECT evstore.replace_projection('order_state', statement => 'DELETE FROM noted', read_tables => '{noted}');
SELECT replaced('order_state');
SELECT count(*) FROM noted;
SELECT kind, read_table FROM evstore.projections WHERE name = 'order_state';
SELECT evstore.append('order-12', 'OrderPlaced', '{}') IS NOT NULL AS appended;
SELECT evstore.wait_for('order_state');

\set VERBOSITY terse
SELECT evstore.replace_projection('order_state', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT evstore.replace_projection('orders_by_region', statement => 'DELETE FROM noted');
SELECT evstore.replace_projection('orders_by_region');
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT', statement => 'SELECT');
SELECT evstore.replace_projection(NULL, query => 'SELECT');
SELECT evstore.replace_projection('nosuch', query => 'SELECT');
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT nosuch FROM events GROUP BY 1');
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT type, random() FROM events GROUP BY 1');
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT type, count(*) AS n FROM events GROUP BY 1', read_tables => '{noted}');
SELECT evstore.create_event_table('others');
SELECT evstore.replace_projection('order_state', statement => 'DELETE FROM nosuch');
SELECT evstore.replace_projection('order_state', handler => 'nosuch');
CREATE ROLE regress_replace_other;
SET ROLE regress_replace_other;
SELECT evstore.replace_projection('orders_by_region', query => 'SELECT type, count(*) AS n FROM events GROUP BY 1');
RESET ROLE;
-- a statement that reads another table as well gets the events of both, while others follow the one
SELECT evstore.replace_projection('order_state', read_tables => '{noted}', statement =>
	'INSERT INTO noted SELECT stream FROM new_events UNION ALL SELECT stream FROM new_others ON CONFLICT (type) DO NOTHING');
SELECT replaced('order_state');
DO $$
BEGIN
	FOR i IN 1..50 LOOP
		PERFORM evstore.append('other-' || i, 'Other', '{}', event_table => 'others');
		COMMIT;
	END LOOP;
END
$$;
SELECT evstore.wait_for_all();
SELECT count(*) FROM noted WHERE type LIKE 'other-%';
-- a table that is not written any more may go
CREATE TABLE before (type text);
CREATE TABLE after (type text);
SELECT evstore.create_projection('moved', read_table => 'before', statement => 'INSERT INTO before SELECT type FROM new_events');
SELECT evstore.replace_projection('moved', read_tables => '{after}', statement => 'INSERT INTO after SELECT type FROM new_events');
SELECT replaced('moved');
DROP TABLE before;
SELECT evstore.append('order-12', 'OrderPlaced', '{}') IS NOT NULL AS appended;
SELECT evstore.wait_for('moved', timeout => '10 s');
SELECT count(*) = (SELECT count(*) FROM events) AS all_there FROM after;
SELECT evstore.drop_projection('moved');
-- a superuser's definition has the rights of the projection's owner, and no more
CREATE ROLE regress_replace_owner;
GRANT USAGE, CREATE ON SCHEMA regress_projection_replace TO regress_replace_owner;
GRANT SELECT ON events, new_events TO regress_replace_owner;
SET ROLE regress_replace_owner;
SELECT evstore.create_projection('own', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
RESET ROLE;
SELECT evstore.wait_for('own');
SELECT evstore.replace_projection('own', query => 'SELECT type, count(*) AS n FROM events JOIN order_state USING (stream) GROUP BY type');
SELECT evstore.replace_projection('own', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream');
SELECT replaced('own');
SELECT count(*) FROM evstore.verify_projection('own');
SELECT count(*) = (SELECT count(DISTINCT stream) FROM events) AS every_stream FROM own;
SELECT name, CASE WHEN owner = current_user::regrole THEN 'mine' ELSE owner::text END AS owner, kind FROM evstore.projections ORDER BY name;

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_replace CASCADE;
DROP OWNED BY regress_replace_owner;
DROP ROLE regress_replace_owner, regress_replace_other;
