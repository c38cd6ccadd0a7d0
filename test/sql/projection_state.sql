-- Expressions over aggregates, and HAVING: what is stored is a table of keys
-- and aggregates, and the read table is a view over it.

CREATE SCHEMA regress_projection_state;
SET search_path = regress_projection_state;
SELECT evstore.create_event_table();
CREATE FUNCTION percent(part bigint, whole bigint) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT round(100.0 * part / whole, 1)';

SELECT evstore.create_projection('returns', query => $$
	SELECT data->>'region' AS region, upper(data->>'region') AS name, count(*) AS orders,
		percent(count(*) FILTER (WHERE type = 'Returned'), count(*)) AS returned,
		sum((data->>'total')::numeric) / nullif(count(data->>'total'), 0) AS average, 'EUR' AS currency
	FROM events GROUP BY data->>'region' HAVING count(*) > 1 AND bool_or(type = 'Placed')$$);
SELECT evstore.create_projection('worth', query => 'SELECT coalesce(sum((data->>''total'')::numeric), 0) AS total FROM events HAVING count(*) <> 3');

-- What was made.
SELECT relname, relkind, relowner::regrole = current_user::regrole AS mine, obj_description(oid, 'pg_class') AS comment
FROM pg_class WHERE relnamespace = 'regress_projection_state'::regnamespace AND relname ~ '^(returns|worth)' AND relkind IN ('r', 'v') ORDER BY relname;
SELECT name, read_table FROM evstore.projections ORDER BY name;
SELECT replace(pg_get_viewdef('returns'), 'returns_state.', '') AS definition;
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'returns_state'::regclass AND attnum > 0 ORDER BY attnum;
SELECT attname FROM pg_attribute WHERE attrelid = 'returns'::regclass AND attnum > 0 ORDER BY attnum;
TABLE worth;

-- A group comes in when it satisfies HAVING, and may go again.
SELECT version FROM evstore.append('order-1', 'Placed', '{"region": "north", "total": 10}');
SELECT version FROM evstore.append('order-2', 'Placed', '{"region": "south", "total": 7}');
SELECT evstore.wait_for('returns') AND evstore.wait_for('worth') AS followed;
TABLE returns;
TABLE worth;
SELECT version FROM evstore.append('order-1', 'Returned', '{"region": "north"}');
SELECT evstore.wait_for('returns') AND evstore.wait_for('worth') AS followed;
TABLE returns;
TABLE worth;
SELECT version FROM evstore.append('order-2', 'Counted', '{"region": "south", "total": null}');
SELECT evstore.wait_for('returns') AND evstore.wait_for('worth') AS followed;
SELECT * FROM returns ORDER BY region;
TABLE worth;

-- Who may read the view needs no right to what is behind it.
CREATE ROLE regress_projection_state;
GRANT USAGE ON SCHEMA regress_projection_state TO regress_projection_state;
GRANT SELECT ON returns TO regress_projection_state;
SET ROLE regress_projection_state;
SELECT region, orders FROM returns ORDER BY region;
SELECT count(*) FROM returns_state;
RESET ROLE;

-- Both may be renamed and moved.
ALTER VIEW returns RENAME TO rates;
ALTER TABLE returns_state RENAME TO counted;
CREATE SCHEMA regress_projection_state_other;
ALTER TABLE counted SET SCHEMA regress_projection_state_other;
SELECT version FROM evstore.append('order-2', 'Returned', '{"region": "south"}');
SELECT evstore.wait_for('returns');
SELECT region, orders, returned FROM rates ORDER BY region;
ALTER TABLE regress_projection_state_other.counted SET SCHEMA regress_projection_state;

-- Dropping takes both, unless something of the user's reads one of them.
CREATE VIEW reader AS SELECT region FROM rates;
SELECT evstore.drop_projection('returns');
\echo :SQLSTATE
DROP VIEW reader;
CREATE VIEW reader AS SELECT region FROM counted;
SELECT evstore.drop_projection('returns');
\echo :SQLSTATE
DROP VIEW reader;
SELECT evstore.drop_projection('returns');
SELECT to_regclass('rates') IS NULL AND to_regclass('counted') IS NULL AS gone;
SELECT evstore.drop_projection('worth', keep_table => true);
SELECT total, obj_description('worth'::regclass, 'pg_class') AS comment, obj_description('worth_state'::regclass, 'pg_class') AS state_comment FROM worth;

-- Names that are taken, or too long
SELECT evstore.create_projection('worth', query => 'SELECT count(*) + 1 AS n FROM events', read_table => 'worth');
\echo :SQLSTATE
DROP VIEW worth;
SELECT evstore.create_projection('worth', query => 'SELECT count(*) + 1 AS n FROM events', read_table => 'worth');
\echo :SQLSTATE
SELECT evstore.create_projection('worth', query => 'SELECT count(*) + 1 AS n FROM events', read_table => repeat('w', 58));
\echo :SQLSTATE
SELECT to_regclass('worth') IS NULL AS nothing_left;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_state, regress_projection_state_other CASCADE;
DROP ROLE regress_projection_state;
