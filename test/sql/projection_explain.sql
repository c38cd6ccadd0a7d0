-- evstore.explain_projection(): the statement of a batch, and its plans.

CREATE SCHEMA regress_projection_explain;
SET search_path = regress_projection_explain;
SELECT evstore.create_event_table();
CREATE TABLE kept (stream text PRIMARY KEY, n bigint);
CREATE TABLE region (code text PRIMARY KEY, name text);
CREATE ROLE regress_projection_explain;
CREATE ROLE regress_projection_explain_member IN ROLE regress_projection_explain;
CREATE ROLE regress_projection_explain_other;
GRANT USAGE, CREATE ON SCHEMA regress_projection_explain TO regress_projection_explain, regress_projection_explain_member, regress_projection_explain_other;
GRANT SELECT ON events, region TO regress_projection_explain;

SELECT count(evstore.append('s-' || n % 10, 't', jsonb_build_object('region', 'r' || n % 3, 'x', n))) AS appended FROM generate_series(1, 2000) n;
ANALYZE events;

SET ROLE regress_projection_explain;
SELECT evstore.create_projection('by_region', query => $$
	SELECT r.name, count(*) AS n, stddev((e.data->>'x')::integer) AS deviation
	FROM events e LEFT JOIN region r ON r.code = e.data->>'region' GROUP BY r.name$$);
SELECT evstore.create_projection('by_type', query => 'SELECT type, stddev((data->>''x'')::integer) AS deviation FROM events GROUP BY type');
SELECT evstore.create_projection('small_only', batch_size => 100, query => 'SELECT count(*) + 1 AS n FROM events');
RESET ROLE;
SELECT evstore.create_projection('counted', statement => $$
	INSERT INTO kept SELECT stream, count(*) FROM new_events GROUP BY stream ON CONFLICT (stream) DO UPDATE SET n = kept.n + excluded.n;
	DELETE FROM kept WHERE n = -1$$);
CREATE FUNCTION handle(evstore.event) RETURNS void LANGUAGE sql AS '';
SELECT evstore.create_projection('handled', handler => 'handle');
SELECT evstore.wait_for('by_region') AND evstore.wait_for('handled') AND evstore.wait_for('by_type') AND evstore.wait_for('small_only') AND evstore.wait_for('counted') AS followed;

-- A line of the plan, without its costs.
CREATE FUNCTION lines(projection text) RETURNS TABLE (no bigint, line text) LANGUAGE sql AS
	$$SELECT no, replace(regexp_replace(line, ' +\(cost=.*', ''), ' ' || current_user, ' me') FROM evstore.explain_projection(projection) WITH ORDINALITY e (line, no)$$;
SELECT line FROM lines('by_region') WHERE line !~ '^ ' ORDER BY no;
SELECT replace(line, 'events."position"', '"position"') AS line FROM lines('small_only') WHERE no <= 8 ORDER BY no;
SELECT line FROM lines('counted') WHERE line ~ '^\S|INSERT|DELETE' ORDER BY no;
SELECT line FROM lines('handled') WHERE line ~ '^\S|Scan' ORDER BY no;

-- One that is applied by those who append is explained like any other.
SELECT evstore.create_projection('at_once', mode => 'inline', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream');
SELECT line FROM lines('at_once') WHERE line ~ '^\S|Scan using' ORDER BY no;

-- What needs its rows in some order sorts the few it has, rather than read all events by an index in that order.
SELECT evstore.create_projection('collected', query => 'SELECT stream, array_agg(type ORDER BY position) AS types FROM events GROUP BY stream');
SELECT line FROM lines('collected') WHERE line ~ '^\S|Scan using events_pkey' ORDER BY no;

-- A small batch finds its events by position; a big one reads the table, with
-- helpers if it is worth it.
SELECT count(*) FILTER (WHERE line ~ 'Insert on by_region') AS insert, count(*) FILTER (WHERE line ~ 'Index Scan using events_pkey') AS by_position,
	count(*) FILTER (WHERE line ~ 'Seq Scan on events') AS big, count(*) FILTER (WHERE line ~ 'Parallel') AS parallel FROM lines('by_region');
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SELECT count(*) FILTER (WHERE line ~ 'Parallel Seq Scan on events') AS parallel, count(*) FILTER (WHERE line ~ 'Partial.*Aggregate') AS partial FROM lines('by_type');
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
-- Nothing was run, and nothing is left of the batch that was imagined.
SELECT sum(n) FROM kept;
SELECT evstore._batch_from() IS NULL AS no_batch, current_setting('enable_seqscan') AS seqscan, current_user = session_user AS myself;

-- With the settings of the declaration.
SET DateStyle = 'German';
SELECT evstore.create_projection('dated', query => $$SELECT '1.2.2020'::date AS day, count(*) AS n FROM events WHERE recorded_at > '1.2.2020' GROUP BY 1$$);
RESET DateStyle;
SELECT substring(line FROM '> ''[^'']*''') AS since FROM lines('dated') WHERE line ~ 'recorded_at > ' LIMIT 1;

-- For the owner and its members.
SET ROLE regress_projection_explain_member;
SELECT count(*) > 5 AS explained FROM evstore.explain_projection('by_region');
SET ROLE regress_projection_explain_other;
SELECT evstore.explain_projection('by_region');
\echo :SQLSTATE
RESET ROLE;
SELECT evstore.explain_projection('nosuch');
\echo :SQLSTATE
SELECT count(*) FROM evstore.explain_projection(NULL);
-- What the owner may not do any more is said.
\set SHOW_CONTEXT never
REVOKE SELECT ON region FROM regress_projection_explain;
SELECT evstore.explain_projection('by_region');
\echo :SQLSTATE
SELECT evstore._batch_from() IS NULL AS no_batch;

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_explain CASCADE;
DROP ROLE regress_projection_explain_member, regress_projection_explain_other, regress_projection_explain;
