-- Read tables as they were: at a position, and at a time.

CREATE SCHEMA regress_projection_as_of;
SET search_path = regress_projection_as_of;
SELECT evstore.create_event_table();
SELECT evstore.create_projection('orders_by_region', query => $$
	SELECT data->>'region' AS region, count(*) AS orders, sum((data->>'total')::numeric) AS revenue
	FROM events WHERE type = 'OrderPlaced' GROUP BY 1$$);
CREATE TABLE "order" (dropped text, stream text PRIMARY KEY, id bigint GENERATED ALWAYS AS IDENTITY, status text, note text);
ALTER TABLE "order" DROP COLUMN dropped;
SELECT evstore.create_projection('order', read_table => '"order"', statement => $$
	INSERT INTO "order" AS o (stream, status, note) SELECT stream, evstore.last(type, position), repeat('long ', 2000) FROM new_events GROUP BY stream
	ON CONFLICT (stream) DO UPDATE SET status = EXCLUDED.status$$);

SELECT position AS first FROM evstore.append('order-1', 'OrderPlaced', '{"region": "north", "total": 10}') \gset
SELECT position AS second FROM evstore.append('order-2', 'OrderPlaced', '{"region": "south", "total": 20}') \gset
SELECT recorded_at AS noon FROM events ORDER BY position DESC LIMIT 1 \gset
DO $$BEGIN WHILE clock_timestamp() <= (SELECT max(recorded_at) FROM events) LOOP END LOOP; END$$;
SELECT position AS third FROM evstore.append('order-1', 'OrderPaid', '{}') \gset
SELECT position AS fourth FROM evstore.append('order-3', 'OrderPlaced', '{"region": "north", "total": 30}') \gset
SELECT evstore.wait_for('orders_by_region'), evstore.wait_for('order');

SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, "position" => 0);
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, "position" => :first) ORDER BY region;
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, "position" => :third) ORDER BY region;
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, "position" => :fourth) ORDER BY region;
SELECT stream, status, length(note) FROM evstore.projection_as_of(NULL::"order", "position" => :second) ORDER BY stream;
SELECT stream, status, length(note) FROM evstore.projection_as_of(NULL::"order", "position" => :fourth) ORDER BY stream;

-- By time: the last event recorded by then.
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, at => :'noon') ORDER BY region;
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, at => 'infinity') ORDER BY region;
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, at => '-infinity');
SELECT bool_and(n = e.rank) AS exact, count(*) AS events FROM
	(SELECT recorded_at, row_number() OVER (ORDER BY position) AS rank FROM events WHERE type = 'OrderPlaced') e,
	LATERAL (SELECT sum(orders) AS n FROM evstore.projection_as_of(NULL::orders_by_region, at => e.recorded_at)) p;

-- The rows are typed, and can be joined with what is there now, whatever was added to the table.
ALTER TABLE orders_by_region ADD COLUMN note text DEFAULT 'new';
SELECT region, now.orders, was.orders AS orders_then, was.note, pg_typeof(was) FROM orders_by_region now
	LEFT JOIN evstore.projection_as_of(NULL::orders_by_region, "position" => :second) was USING (region) ORDER BY region;
ALTER TABLE orders_by_region DROP COLUMN note;
SELECT (evstore.projection_as_of(NULL::orders_by_region, "position" => :second)).* ORDER BY region;
SELECT * FROM evstore.projection_as_of((SELECT o FROM orders_by_region o LIMIT 1), "position" => :first);

-- What was done to the table behind the projection's back is not in it.
UPDATE orders_by_region SET revenue = 0;
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, "position" => :fourth) ORDER BY region;

-- A view that computes is taken as it is now, wherever it reads the table behind it.
SELECT evstore.create_projection('average', query => $$
	SELECT data->>'region' AS region, sum((data->>'total')::numeric) / count(*) AS average
	FROM events WHERE type = 'OrderPlaced' GROUP BY 1$$);
SELECT evstore.wait_for('average');
SELECT * FROM evstore.projection_as_of(NULL::average, "position" => :first);
ALTER TABLE average_state ADD COLUMN note text;
CREATE OR REPLACE VIEW average AS SELECT s.region, s._value_2 / s._value_3 AS average, s.note,
	(SELECT count(*) FROM average_state o WHERE o._value_2 <> s._value_2) AS others FROM average_state s;
SELECT * FROM evstore.projection_as_of(NULL::average, "position" => :first);
SELECT * FROM evstore.projection_as_of(NULL::average, "position" => :second) ORDER BY region;
CREATE OR REPLACE VIEW average AS SELECT s.region, s._value_2 / s._value_3 AS average, s.note,
	(SELECT count(*) FROM average_state o WHERE o.ctid <> s.ctid) AS others FROM average_state s;
SELECT * FROM evstore.projection_as_of(NULL::average, "position" => :first);
\echo :SQLSTATE
CREATE OR REPLACE VIEW average AS SELECT ''::text AS region, 1::numeric AS average, ''::text AS note, 0::bigint AS others;
SELECT * FROM evstore.projection_as_of(NULL::average, "position" => :first);
\echo :SQLSTATE

-- Within one snapshot, as far as that is known to go.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT region FROM evstore.projection_as_of(NULL::orders_by_region, "position" => :first);
SELECT count(*) FROM evstore.projection_as_of(NULL::orders_by_region, at => 'infinity');
ROLLBACK;

\set VERBOSITY terse
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region);
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, 1, now());
SELECT evstore.projection_as_of(NULL::orders_by_region, 9223372036854775807) IS NULL;
SELECT * FROM evstore.projection_as_of(NULL::events, 1);
SELECT * FROM evstore.projection_as_of(1, 1);
SELECT * FROM evstore.projection_as_of(NULL, 1);
ALTER TABLE orders_by_region ALTER revenue TYPE text;
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, 1);
CREATE ROLE regress_as_of_other;
SET ROLE regress_as_of_other;
SET search_path = regress_projection_as_of;
SELECT * FROM evstore.projection_as_of(NULL::regress_projection_as_of.orders_by_region, 1);
RESET ROLE;
GRANT USAGE ON SCHEMA regress_projection_as_of TO regress_as_of_other;
SET ROLE regress_as_of_other;
SELECT * FROM evstore.projection_as_of(NULL::orders_by_region, 1);
RESET ROLE;

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_as_of CASCADE;
DROP ROLE regress_as_of_other;
