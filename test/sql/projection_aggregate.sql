-- Any aggregate with a combine function: PostgreSQL's own, and users'. Their
-- states are stored beside the results, and sealed where they are not made to
-- be seen.

CREATE SCHEMA regress_projection_aggregate;
SET search_path = regress_projection_aggregate;
SELECT evstore.create_event_table();

-- Ordinary functions and an ordinary state, which is the result.
CREATE FUNCTION bigger(numeric, numeric) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN greatest($1, $2); END';
CREATE AGGREGATE biggest(numeric) (SFUNC = bigger, STYPE = numeric, COMBINEFUNC = bigger);
-- A composite state and a final function that is not strict, in plpgsql; it has an opinion on no rows.
CREATE TYPE span AS (low numeric, high numeric, n integer);
CREATE FUNCTION span_step(span, numeric) RETURNS span LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN RETURN (least($1.low, $2), greatest($1.high, $2), $1.n + 1)::regress_projection_aggregate.span; END';
CREATE FUNCTION span_combine(span, span) RETURNS span LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN RETURN (least($1.low, $2.low), greatest($1.high, $2.high), $1.n + $2.n)::regress_projection_aggregate.span; END';
CREATE FUNCTION span_final(span) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RETURN CASE WHEN $1.n = 0 THEN 'nothing' ELSE format('%s to %s in %s', $1.low, $1.high, $1.n) END; END$$;
CREATE AGGREGATE span(numeric) (SFUNC = span_step, STYPE = span, COMBINEFUNC = span_combine, FINALFUNC = span_final, INITCOND = '(,,0)');
-- A polymorphic state.
CREATE FUNCTION collect_step(anyarray, anyelement) RETURNS anyarray LANGUAGE sql IMMUTABLE AS 'SELECT CASE WHEN $2 IS NULL OR $2 = ANY ($1) THEN $1 ELSE $1 || $2 END';
CREATE FUNCTION collect_combine(anyarray, anyarray) RETURNS anyarray LANGUAGE sql IMMUTABLE AS 'SELECT array(SELECT unnest($1) UNION SELECT unnest($2))';
CREATE FUNCTION collect_final(anyarray) RETURNS anyarray LANGUAGE sql IMMUTABLE AS 'SELECT array(SELECT unnest($1) ORDER BY 1)';
CREATE AGGREGATE different(anyelement) (SFUNC = collect_step, STYPE = anyarray, COMBINEFUNC = collect_combine, FINALFUNC = collect_final, INITCOND = '{}');
-- The state in memory of another one, as an extension in C has it.
CREATE AGGREGATE average(numeric) (SFUNC = numeric_avg_accum, STYPE = internal, FINALFUNC = numeric_avg, COMBINEFUNC = numeric_avg_combine,
	SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize, PARALLEL = SAFE);
-- One whose combine function insists on being part of an aggregation.
CREATE AGGREGATE count_and_sum(integer) (SFUNC = int4_avg_accum, STYPE = bigint[], COMBINEFUNC = int4_avg_combine, INITCOND = '{0,0}');
-- No arguments, and several.
CREATE FUNCTION tick(bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION ticks(bigint) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT repeat(''|'', $1::integer)';
CREATE AGGREGATE tally(*) (SFUNC = tick, STYPE = bigint, COMBINEFUNC = int8pl, FINALFUNC = ticks, INITCOND = '0');
CREATE FUNCTION longer(text, text, text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS 'SELECT max(v) FROM unnest(ARRAY[$1, $2, $3]) v';
CREATE FUNCTION longer(text, text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS 'SELECT greatest($1, $2)';
CREATE AGGREGATE last_of_two(text, text) (SFUNC = longer, STYPE = text, COMBINEFUNC = longer, FINALFUNC = upper, INITCOND = '');
-- Strict, and without an initial state: the first value is the state.
CREATE AGGREGATE loudest(text) (SFUNC = longer, STYPE = text, COMBINEFUNC = longer, FINALFUNC = upper);
CREATE TYPE mood AS ENUM ('sad', 'calm', 'happy');

CREATE TABLE query (n integer GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, query text NOT NULL);
INSERT INTO query (name, query) VALUES
('deviations', $$
	SELECT data->>'k' AS k, stddev((data->>'x')::integer) AS of_integer, stddev_pop((data->>'x')::smallint) AS of_smallint,
		var_samp((data->>'x')::bigint) AS of_bigint, variance((data->>'y')::numeric) AS of_numeric, var_pop((data->>'y')::numeric) FILTER (WHERE type = 'never') AS of_none
	FROM events GROUP BY data->>'k'$$),
-- In floating point, the order of additions shows in the last digits.
('regressions', $$
	SELECT data->>'k' AS k, regr_count((data->>'x')::float8, version) AS pairs, round(stddev((data->>'x')::float8)::numeric, 6) AS deviation,
		round(corr((data->>'x')::float8, (data->>'y')::float8)::numeric, 6) AS corr, round(covar_pop((data->>'x')::float8, version)::numeric, 6) AS covar,
		round(regr_slope((data->>'x')::float8, version)::numeric, 6) AS slope, round(regr_intercept((data->>'x')::numeric, version)::numeric, 6) AS intercept,
		round(regr_r2((data->>'x')::float8, version)::numeric, 6) AS r2, round(stddev((data->>'x')::real)::numeric, 3) AS of_real
	FROM events GROUP BY data->>'k'$$),
('ranges', $$
	SELECT data->>'k' AS k, range_agg(int8range(version, version + 1)) AS versions, range_agg(int4multirange(int4range(1, (data->>'n')::integer))) AS multi,
		range_intersect_agg(numrange(-1000, (data->>'y')::numeric)) AS common, range_agg(int4range(1, 2)) FILTER (WHERE false) AS none
	FROM events GROUP BY data->>'k'$$),
('extremes', $$
	SELECT data->>'k' AS k, min((data->>'mood')::mood) AS saddest, max((data->>'mood')::mood) AS happiest, max(ARRAY[version, position]) AS latest,
		min(recorded_at) AS since, max('127.0.0.1'::inet + version) AS inet, bit_and((data->>'n')::integer::bit(8)) AS bits, bit_xor((data->>'n')::integer) AS odd
	FROM events GROUP BY data->>'k'$$),
('own', $$
	SELECT data->>'k' AS k, biggest((data->>'y')::numeric) AS biggest, span((data->>'x')::numeric) AS span, span((data->>'x')::numeric) FILTER (WHERE type = 'never') AS no_span,
		different((data->>'n')::integer) AS ns, different((data->>'mood')::mood) AS moods, average((data->>'y')::numeric) AS average,
		count_and_sum((data->>'x')::integer) AS pair, tally(*) AS tally, last_of_two(type, data->>'k') AS last_of_two,
		loudest(data->>'mood') AS loudest, loudest(stream COLLATE "C") FILTER (WHERE type = 'never') AS no_loudest
	FROM events GROUP BY data->>'k'$$),
('own_total', $$
	SELECT span((data->>'x')::numeric) AS span, stddev((data->>'x')::integer) AS deviation, tally(*) || '!' AS tally, average((data->>'y')::numeric) AS average,
		different((data->>'n')::integer) AS ns, round(stddev((data->>'y')::float8)::numeric, 6) AS of_float
	FROM events$$);

-- Wait until a condition holds; give up after a minute.
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS
$$
DECLARE
	holds boolean;
	give_up timestamptz := clock_timestamp() + interval '1 minute';
BEGIN
	LOOP
		EXECUTE 'SELECT ' || condition INTO holds;
		EXIT WHEN holds;
		IF clock_timestamp() > give_up THEN
			RAISE EXCEPTION 'timed out: %', condition;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
END
$$;
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
SELECT name, evstore.create_projection(name, query => query) FROM query ORDER BY n;
-- Over no events they are what the query is over no events.
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
SELECT span, deviation, tally, average, ns FROM own_total;

-- Two rounds, in several batches each.
CREATE PROCEDURE append_round(round integer) LANGUAGE plpgsql AS
$$
BEGIN
	FOR n IN 1..12 LOOP
		PERFORM evstore.append('s-' || n % 3, 't' || n % 2, jsonb_strip_nulls(jsonb_build_object('k', CASE WHEN n % 5 > 0 THEN 'k' || n % 4 END,
			'x', CASE WHEN n % 6 > 0 THEN n * round - 7 END, 'y', CASE WHEN n % 7 > 1 THEN n * 1.25 / round END, 'n', n % 4 + 2,
			'mood', (ARRAY['sad', 'calm', 'happy', NULL])[1 + n % 4])));
		COMMIT;
		IF n % 5 = 0 THEN
			PERFORM evstore.wait_for(name) FROM query;
		END IF;
	END LOOP;
END
$$;
CALL append_round(1);
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
CALL append_round(2);
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
SELECT k, of_integer, of_bigint, of_numeric, of_none FROM deviations ORDER BY k;
SELECT k, biggest, span, no_span, ns, moods, average, pair, tally, last_of_two, loudest FROM own ORDER BY k;

-- What stands beside them.
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'own'::regclass AND attname ~ '^_' ORDER BY attnum;
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = 'deviations'::regclass AND attname ~ '^_' ORDER BY attnum;
SELECT length(_of_integer_state) > 18 AS sealed FROM deviations WHERE k = 'k1';

-- A state that evstore has not stored is not looked at: changed, another
-- aggregate's, or too short. One of another version of the server is refused.
\set VERBOSITY terse
\set one '(SELECT _of_integer_state FROM deviations WHERE k = ''k1'')'
SELECT evstore._final('stddev(integer)', '-', :one, NULL::numeric) = of_integer AS right FROM deviations WHERE k = 'k1';
SELECT evstore._final('stddev(integer)', '-', set_byte(:one, 25, 200), NULL::numeric);
\echo :SQLSTATE
SELECT evstore._final('stddev(integer)', '-', set_byte(:one, 5, get_byte(:one, 5) # 1), NULL::numeric);
\echo :SQLSTATE
SELECT evstore._final('stddev(bigint)', '-', :one, NULL::numeric);
\echo :SQLSTATE
SELECT evstore._combine('stddev(integer)', '-', :one, '\x0102');
\echo :SQLSTATE
SELECT evstore._combine('stddev(integer)', '-', :one, substr(:one, 1, 20));
\echo :SQLSTATE
SELECT evstore._final('stddev(integer)', '-', set_byte(:one, 1, 3), NULL::numeric);
\echo :SQLSTATE
SELECT key FROM evstore._seal WHERE false;
-- Nor are other types, and aggregates that it cannot be done with.
SELECT evstore._final('stddev(integer)', '-', :one, NULL::integer);
\echo :SQLSTATE
SELECT evstore._final('stddev(integer)', '-', 5, NULL::numeric);
\echo :SQLSTATE
SELECT evstore._combine('stddev(integer)', '-', 1, 2);
\echo :SQLSTATE
SELECT evstore._combine('regress_projection_aggregate.count_and_sum(integer)', '-', 1, 2);
\echo :SQLSTATE
SELECT evstore._combine('regress_projection_aggregate.count_and_sum(integer)', '-', '{1,2}'::bigint[], '{3,4}'::bigint[]);
SELECT evstore._partial('stddev(integer)', '-', NULL::bytea, 'text'::text);
\echo :SQLSTATE
SELECT evstore._partial('stddev(integer)', '-', NULL::bytea, 1, 2);
\echo :SQLSTATE
SELECT evstore._partial('stddev(integer)', '-', NULL::integer, 1);
\echo :SQLSTATE
SELECT evstore._partial('regress_projection_aggregate.different(anyelement)', '-', NULL::integer[], 'x'::text);
\echo :SQLSTATE
SELECT evstore._partial('regress_projection_aggregate.different(anyelement)', '-', NULL::text[], 'x'::text);
SELECT evstore._partial(a, '-', NULL::bytea, 1) FROM unnest('{stddev(integer),variance(integer)}'::regprocedure[]) a;
\echo :SQLSTATE
SELECT evstore._partial('json_agg(anyelement)', '-', NULL::bytea, 1);
\echo :SQLSTATE
SELECT evstore._combine('int8pl(bigint,bigint)', '-', 1, 2);
\echo :SQLSTATE
SELECT evstore._combine(NULL, '-', 1, 2);
\echo :SQLSTATE
\set VERBOSITY default

-- A key that is made in a transaction which is rolled back is forgotten with it.
\c -
SET search_path = regress_projection_aggregate;
BEGIN;
DELETE FROM evstore._seal;
SELECT evstore.create_projection('undone', query => 'SELECT stddev(version) AS deviation FROM events');
SELECT evstore._final('stddev(integer)', '-', evstore._partial('stddev(integer)', '-', NULL::bytea, 1), NULL::numeric);
ROLLBACK;
SELECT evstore._final('stddev(integer)', '-', _of_integer_state, NULL::numeric) = of_integer AS right FROM deviations WHERE k = 'k1';
BEGIN;
DELETE FROM evstore._seal;
SAVEPOINT before;
SELECT evstore.create_projection('undone', query => 'SELECT stddev(version) AS deviation FROM events');
SELECT evstore._final('stddev(integer)', '-', evstore._partial('stddev(integer)', '-', NULL::bytea, 1), NULL::numeric);
ROLLBACK TO before;
SELECT evstore._partial('stddev(integer)', '-', NULL::bytea, 1) IS NOT NULL AS sealed;
ROLLBACK;

-- No other function takes the place of one that combines any types.
CREATE AGGREGATE gathered(anyelement) (SFUNC = collect_step, STYPE = anyarray, COMBINEFUNC = collect_combine, INITCOND = '{}');
SELECT evstore.create_projection('gathered', query => 'SELECT stream, gathered(type) AS types FROM events WHERE stream = ''g'' GROUP BY stream');
SELECT version FROM evstore.append('g', 't1', '{}');
SELECT evstore.wait_for('gathered');
CREATE FUNCTION collect_combine(text[], text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS 'SELECT ARRAY[current_user::text]';
SELECT evstore.set_projection('gathered', batch_size => 1000);
SELECT version FROM evstore.append('g', 't2', '{}');
SELECT evstore.wait_for('gathered');
SELECT array(SELECT unnest(types) ORDER BY 1) AS types FROM gathered;
DROP FUNCTION collect_combine(text[], text[]);
SELECT evstore.drop_projection('gathered');

-- What combines is called by its name. With another name, batches fail until it is back, or
-- the query has been given anew; nothing is lost.
SELECT evstore.create_projection('named', query => $$
	SELECT stream, biggest(version) AS biggest FROM events WHERE stream LIKE 'n-%' GROUP BY stream$$);
SELECT evstore.wait_for('named');
ALTER FUNCTION bigger(numeric, numeric) RENAME TO larger;
SELECT version FROM evstore.append('n-1', 't1', '{}');
CALL until($$failures > 0 FROM evstore.projections WHERE name = 'named'$$);
SELECT state, split_part(last_error, E'\n', 1) AS error FROM evstore.projections WHERE name = 'named';
ALTER FUNCTION larger(numeric, numeric) RENAME TO bigger;
SELECT evstore.wait_for('named');
TABLE named;
ALTER FUNCTION bigger(numeric, numeric) RENAME TO larger;
SELECT version FROM evstore.append('n-1', 't1', '{}');
CALL until($$failures > 0 FROM evstore.projections WHERE name = 'named'$$);
SELECT evstore.replace_projection('named', query => $$
	SELECT stream, biggest(version) AS biggest FROM events WHERE stream LIKE 'n-%' GROUP BY stream$$);
SELECT evstore.wait_for('named');
TABLE named;
SELECT state, failures FROM evstore.projections WHERE name = 'named';
SELECT evstore.drop_projection('named');
ALTER FUNCTION larger(numeric, numeric) RENAME TO bigger;

-- A broken state stops its projection, and says so.
UPDATE deviations SET _of_integer_state = set_byte(_of_integer_state, 1, 3) WHERE k = 'k1';
SELECT version FROM evstore.append('s-1', 't1', '{"k": "k1", "x": 3}');
CALL until($$state = 'failing' FROM evstore.projections WHERE name = 'deviations'$$);
SELECT state, split_part(last_error, E'\n', 1) ~ 'was stored by PostgreSQL' AS said FROM evstore.projections WHERE name = 'deviations';
SELECT evstore.drop_projection('deviations');

-- Rights: the projection's owner must have the aggregate, the aggregate's owner its functions.
CREATE ROLE regress_projection_aggregate;
CREATE ROLE regress_projection_aggregate_maker;
GRANT USAGE, CREATE ON SCHEMA regress_projection_aggregate TO regress_projection_aggregate, regress_projection_aggregate_maker;
GRANT SELECT ON events TO regress_projection_aggregate;
REVOKE EXECUTE ON FUNCTION span(numeric) FROM PUBLIC;
SET ROLE regress_projection_aggregate;
SELECT evstore.create_projection('secret', query => $$SELECT span((data->>'x')::numeric) AS span FROM events$$);
\echo :SQLSTATE
SELECT key FROM evstore._seal;
\echo :SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION span(numeric) TO regress_projection_aggregate;
ALTER AGGREGATE span(numeric) OWNER TO regress_projection_aggregate_maker;
REVOKE EXECUTE ON FUNCTION span_combine(span, span) FROM PUBLIC;
SET ROLE regress_projection_aggregate;
SELECT evstore.create_projection('secret', query => $$SELECT span((data->>'x')::numeric) AS span FROM events$$);
\echo :SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION span_combine(span, span) TO regress_projection_aggregate_maker;
SET ROLE regress_projection_aggregate;
SELECT evstore.create_projection('secret', query => $$SELECT span((data->>'x')::numeric) AS span FROM events$$);
RESET ROLE;
SELECT evstore.wait_for('secret');
SELECT span FROM secret;

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_aggregate CASCADE;
DROP ROLE regress_projection_aggregate, regress_projection_aggregate_maker;
