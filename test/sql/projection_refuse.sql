-- What cannot be maintained is refused when the projection is made, by name
-- and with a hint, and leaves nothing behind.

CREATE SCHEMA regress_projection_refuse;
SET search_path = regress_projection_refuse;
SELECT evstore.create_event_table();
SELECT evstore.create_event_table('ledger');
CREATE TABLE country (code text PRIMARY KEY, name text);
CREATE VIEW orders AS SELECT * FROM events WHERE stream LIKE 'order-%';
CREATE TEMP TABLE passing (code text);
CREATE FUNCTION restless(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE FUNCTION step(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE AGGREGATE without_combine(numeric) (SFUNC = step, STYPE = numeric, INITCOND = '0');

CREATE AGGREGATE from_ten(integer) (SFUNC = int4pl, STYPE = integer, COMBINEFUNC = int4pl, INITCOND = '10');
CREATE FUNCTION tens(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 10';
CREATE AGGREGATE tens_from_ten(integer) (SFUNC = int4pl, STYPE = integer, COMBINEFUNC = int4pl, FINALFUNC = tens, INITCOND = '10');
CREATE FUNCTION keep_first(anyarray, VARIADIC anyarray) RETURNS anyarray LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, $2)';
CREATE AGGREGATE first_of(VARIADIC anyarray) (SFUNC = keep_first, STYPE = anyarray, COMBINEFUNC = array_larger, FINALFUNC = array_to_json);

-- One error in full, as a user sees it.
SELECT evstore.create_projection('p', query => $$
	SELECT stream, row_number() OVER (ORDER BY stream) AS n FROM events GROUP BY stream$$);
\echo :SQLSTATE

\set SHOW_CONTEXT never
-- The rest as a list: the query, then what is said of it.
CREATE PROCEDURE refuse(queries text[]) LANGUAGE plpgsql AS
$$
DECLARE
	query text;
	hint text;
	detail text;
BEGIN
	FOREACH query IN ARRAY queries LOOP
		BEGIN
			PERFORM evstore.create_projection('p', query => query);
			RAISE EXCEPTION 'ALLOWED';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
			RAISE INFO '%', concat_ws(E'\n\t', query, SQLSTATE || ' ' || SQLERRM,
				'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
		END;
	END LOOP;
END
$$;

-- The shape of the query
CALL refuse(ARRAY[
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream ORDER BY stream$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream LIMIT 10$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream OFFSET 1$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream FETCH FIRST ROW WITH TIES$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream ORDER BY stream FETCH FIRST ROW WITH TIES$$,
	$$SELECT DISTINCT stream, count(*) AS n FROM events GROUP BY stream$$,
	$$SELECT DISTINCT ON (stream) stream, count(*) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream HAVING now() > '2000-01-01'$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream HAVING count(DISTINCT type) > 1$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream HAVING EXISTS (SELECT FROM country)$$,
	$$SELECT stream, 1 + GROUPING(stream) AS g, count(*) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream FOR UPDATE$$,
	$$SELECT stream, type, count(*) AS n FROM events GROUP BY ROLLUP (stream, type)$$,
	$$SELECT stream, type, count(*) AS n FROM events GROUP BY CUBE (stream, type)$$,
	$$SELECT stream, type, count(*) AS n FROM events GROUP BY GROUPING SETS ((stream), (type))$$,
	$$SELECT stream, GROUPING(stream) AS g, count(*) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream UNION ALL SELECT stream, count(*) FROM ledger GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream EXCEPT SELECT 'order-1', 1$$,
	$$WITH e AS (SELECT * FROM events) SELECT stream, count(*) AS n FROM e GROUP BY stream$$,
	$$WITH gone AS (DELETE FROM country RETURNING *) SELECT stream, count(*) AS n FROM events GROUP BY stream$$,
	$$SELECT count(*) AS n FROM events GROUP BY (), stream$$,
	$$SELECT count(*) AS n FROM events GROUP BY GROUPING SETS ((), ())$$,
	$$SELECT 1 AS one FROM events GROUP BY ()$$,
	$$SELECT stream, version FROM events$$,
	$$SELECT * FROM events$$,
	$$SELECT stream, count(*) AS n INTO elsewhere FROM events GROUP BY stream$$,
	$$VALUES ('order-1', 1)$$,
	$$TABLE events$$]);

-- What it reads from
CALL refuse(ARRAY[
	$$SELECT 'order-1' AS stream, count(*) AS n GROUP BY 1$$,
	$$SELECT code, count(*) AS n FROM country GROUP BY code$$,
	$$SELECT a.stream, count(*) AS n FROM events a JOIN events b USING (stream) GROUP BY a.stream$$,
	$$SELECT e.stream, count(*) AS n FROM events e JOIN ledger l USING (stream) GROUP BY e.stream$$,
	$$SELECT e.stream, count(*) AS n FROM country c LEFT JOIN events e ON c.code = e.data->>'country' GROUP BY e.stream$$,
	$$SELECT e.stream, count(*) AS n FROM events e RIGHT JOIN country c ON c.code = e.data->>'country' GROUP BY e.stream$$,
	$$SELECT e.stream, count(*) AS n FROM events e FULL JOIN country c ON c.code = e.data->>'country' GROUP BY e.stream$$,
	$$SELECT stream, count(*) AS n FROM (SELECT * FROM events) e GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM orders GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM new_events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events TABLESAMPLE system (10) GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM evstore.read_events() GROUP BY stream$$,
	$$SELECT e.stream, count(*) AS n FROM events e, LATERAL (SELECT max(version) AS last FROM events i WHERE i.stream = e.stream) m GROUP BY e.stream$$,
	$$SELECT e.stream, count(*) AS n FROM events e JOIN orders o USING (stream) GROUP BY e.stream$$,
	$$SELECT e.stream, count(*) AS n FROM events e JOIN passing p ON p.code = e.type GROUP BY e.stream$$,
	$$SELECT e.stream, count(*) AS n FROM events e, evstore.read_stream(e.stream) r GROUP BY e.stream$$,
	$$SELECT e.version, count(*) AS n FROM events e (version, position) GROUP BY e.version$$,
	$$SELECT j.stream, count(*) AS n FROM (events e JOIN country c ON c.code = e.type) j GROUP BY j.stream$$]);

-- Subqueries
CALL refuse(ARRAY[
	$$SELECT stream, count(*) AS n FROM events WHERE version = (SELECT max(version) FROM events) GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events e WHERE EXISTS (SELECT FROM events i WHERE i.stream = e.stream AND i.type = 'x') GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events WHERE stream IN (SELECT stream FROM orders) GROUP BY stream$$,
	$$SELECT stream, count(*) AS n, (SELECT max(version) FROM events) AS last FROM events GROUP BY stream$$,
	$$SELECT stream, sum((SELECT count(*) FROM events i WHERE i.stream = e.stream)) AS n FROM events e GROUP BY stream$$]);

-- Aggregates
CALL refuse(ARRAY[
	$$SELECT stream, count(DISTINCT type) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, sum(DISTINCT version) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, array_agg(type) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, array_agg(type ORDER BY version) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, array_agg(type ORDER BY recorded_at, position) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, array_agg(type ORDER BY position + 0) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, array_agg(DISTINCT type) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, string_agg(type, ',') AS n FROM events GROUP BY stream$$,
	$$SELECT stream, string_agg(type, stream ORDER BY position) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, json_agg(data ORDER BY position) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, xmlagg(xmlcomment(type) ORDER BY position) AS n FROM events GROUP BY stream$$,
	$$SELECT e.stream, array_agg(e.type ORDER BY c.position) AS n FROM events e, (VALUES (1)) c (position) GROUP BY e.stream$$,
	$$SELECT stream, jsonb_agg(data) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, jsonb_object_agg(type, data) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, percentile_cont(0.5) WITHIN GROUP (ORDER BY version) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, mode() WITHIN GROUP (ORDER BY type) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, rank(1) WITHIN GROUP (ORDER BY version) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, stddev(DISTINCT version) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, without_combine(version) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, from_ten(version::integer) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, tens_from_ten(version::integer) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, first_of(version, version) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, max(version ORDER BY position) AS n FROM events GROUP BY stream$$]);

-- Columns
CALL refuse(ARRAY[
	$$SELECT count(*) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream, type$$,
	$$SELECT stream, count(*) + random() AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) / array_length(array_agg(type), 1) AS n FROM events GROUP BY stream$$,
	$$SELECT position, type || stream AS t, count(*) AS n FROM events GROUP BY position$$,
	$$SELECT stream, count(*) + 1 FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) + 1 AS _n FROM events GROUP BY stream$$,
	$$SELECT *, count(*) AS n FROM events GROUP BY position$$,
	$$SELECT e.type, e.*, count(*) AS n FROM events e GROUP BY e.type, e.position$$,
	$$SELECT stream, count(*) AS stream FROM events GROUP BY stream$$,
	$$SELECT stream, sum(version), sum(position) FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS _n FROM events GROUP BY stream$$,
	$$SELECT data->>'a', count(*) AS n FROM events GROUP BY data->>'a'$$,
	$$SELECT data::json AS j, count(*) AS n FROM events GROUP BY data::json$$,
	$$SELECT point(version, 1) AS p, count(*) AS n FROM events GROUP BY 1$$,
	$$SELECT ctid AS place, count(*) AS n FROM events GROUP BY ctid$$,
	$$SELECT e AS whole, count(*) AS n FROM events e GROUP BY e$$,
	$$SELECT ROW(stream, type) AS pair, count(*) AS n FROM events GROUP BY ROW(stream, type)$$,
	$$SELECT stream, generate_series(1, 2) AS g, count(*) AS n FROM events GROUP BY stream, 2$$,
	$$SELECT stream, max(jsonb_array_length(data)) AS m, jsonb_array_elements(data) AS e FROM events GROUP BY stream, 3$$]);

-- Functions whose answer depends on the moment
CALL refuse(ARRAY[
	$$SELECT stream, sum(random()) AS n FROM events GROUP BY stream$$,
	$$SELECT restless(stream) AS r, count(*) AS n FROM events GROUP BY 1$$,
	$$SELECT stream, count(*) AS n FROM events WHERE recorded_at < clock_timestamp() GROUP BY stream$$,
	$$SELECT stream, count(*) FILTER (WHERE nextval('evstore.position_sequence') > 0) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events WHERE recorded_at < now() GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events WHERE recorded_at < current_date GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events WHERE type = current_user GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events WHERE type = current_setting('app.tenant') GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events WHERE type = current_setting('app.tenant', true) GROUP BY stream$$,
	$$SELECT pg_backend_pid() AS p, count(*) AS n FROM events GROUP BY 1$$,
	$$SELECT stream, max(txid_current()) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, max(pg_current_xact_id()::text) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, max(pg_current_snapshot()::text) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, max(age(recorded_at)) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events WHERE recorded_at < pg_postmaster_start_time() GROUP BY stream$$,
	$$SELECT current_schemas(false) AS s, count(*) AS n FROM events GROUP BY 1$$,
	$$SELECT stream, count(*) FILTER (WHERE inet_client_addr() IS NULL) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, max(current_query()) AS n FROM events GROUP BY stream$$,
	$$SELECT evstore._batch_from() AS f, count(*) AS n FROM events GROUP BY 1$$,
	$$SELECT stream, max(evstore._batch_to()) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events JOIN country ON code = current_setting('app.tenant', true) GROUP BY stream$$,
	$$SELECT stream, max((SELECT version FROM evstore.append('order-1', 'x', '{}'))) AS n FROM events GROUP BY stream$$]);

-- Text that is no query, or more than one
CALL refuse(ARRAY[
	'', ' ', '-- nothing', 'SELEC stream', 'SELECT stream, count(*) AS n FROM events GROUP BY stream, nosuch',
	$$SELECT stream, nosuch(version) AS n FROM events GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM nosuch GROUP BY stream$$,
	$$SELECT stream, count(*) AS n FROM events GROUP BY stream; SELECT 1$$,
	$$SELECT stream, count(*) AS n FROM events WHERE type = $1 GROUP BY stream$$,
	$$INSERT INTO country SELECT stream FROM events$$,
	$$UPDATE country SET name = ''$$,
	$$DROP TABLE country$$,
	$$EXPLAIN SELECT stream, count(*) AS n FROM events GROUP BY stream$$,
	$$COMMIT$$]);

-- Policies of the event table, where they bind the owner of the projection:
-- an event that a batch does not see is missed for ever.
CREATE ROLE regress_projection_refuse;
GRANT USAGE, CREATE ON SCHEMA regress_projection_refuse TO regress_projection_refuse;
GRANT SELECT ON ledger, new_ledger TO regress_projection_refuse;
GRANT INSERT ON country TO regress_projection_refuse;
ALTER TABLE ledger ENABLE ROW LEVEL SECURITY;
SET ROLE regress_projection_refuse;
SELECT evstore.create_projection('p', query => 'SELECT stream, count(*) AS n FROM ledger GROUP BY stream');
\echo :SQLSTATE
SELECT evstore.create_projection('p', event_table => 'ledger', statement => 'INSERT INTO country SELECT stream FROM new_ledger');
\echo :SQLSTATE
RESET ROLE;
-- so they do not bind a superuser, nor the table's owner unless they are forced
ALTER TABLE ledger FORCE ROW LEVEL SECURITY;
BEGIN;
SELECT evstore.create_projection('p', query => 'SELECT stream, count(*) AS n FROM ledger GROUP BY stream');
ROLLBACK;
ALTER TABLE ledger OWNER TO regress_projection_refuse;
SET ROLE regress_projection_refuse;
SELECT evstore.create_projection('p', query => 'SELECT stream, count(*) AS n FROM ledger GROUP BY stream');
\echo :SQLSTATE
ALTER TABLE ledger NO FORCE ROW LEVEL SECURITY;
BEGIN;
SELECT evstore.create_projection('p', query => 'SELECT stream, count(*) AS n FROM ledger GROUP BY stream');
ROLLBACK;
ALTER TABLE ledger DISABLE ROW LEVEL SECURITY;
RESET ROLE;

-- The arguments
\set query '\'SELECT stream, count(*) AS n FROM events GROUP BY stream\''
SELECT evstore.create_projection(NULL, query => :query);
\echo :SQLSTATE
SELECT evstore.create_projection('', query => :query);
\echo :SQLSTATE
SELECT evstore.create_projection('p');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, statement => 'INSERT INTO country SELECT stream FROM new_events');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, mode => 'sometimes');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, mode => NULL);
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, batch_size => 0);
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, batch_size => -1);
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, read_table => 'country');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, read_table => '');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, read_table => 'regress_no_such_schema.p');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, read_table => 'events');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, read_table => 'pg_temp.p');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, event_table => 'ledger');
\echo :SQLSTATE
SELECT evstore.create_projection('p', query => :query, event_table => 'country');
\echo :SQLSTATE
SELECT evstore.create_projection(repeat('p', 64), query => :query);
\echo :SQLSTATE
SET evstore.event_table = 'ledger';
SELECT evstore.create_projection('p', query => :query, event_table => 'ledger');
\echo :SQLSTATE
RESET evstore.event_table;
BEGIN READ ONLY;
SELECT evstore.create_projection('p', query => :query);
\echo :SQLSTATE
ROLLBACK;

-- A name is taken once.
SELECT evstore.create_projection('taken', query => :query, read_table => 'first_taken');
SELECT evstore.create_projection('taken', query => :query, read_table => 'second_taken');
\echo :SQLSTATE

-- Nothing was left behind but what was allowed.
SELECT name FROM evstore.projections ORDER BY name;
SELECT relname, relkind FROM pg_class
WHERE relnamespace = 'regress_projection_refuse'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname;

SELECT evstore.drop_projection('taken');
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_refuse CASCADE;
DROP ROLE regress_projection_refuse;
