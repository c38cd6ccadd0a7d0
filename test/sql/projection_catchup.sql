-- Big batches of query projections: the query runs by itself, in parallel where
-- it may, and its rows are combined with the read table after that. A batch is
-- big by the positions it spans, so gaps between few events will do.

CREATE SCHEMA regress_projection_catchup;
SET search_path = regress_projection_catchup;
SELECT evstore.create_event_table();

-- The smallest table is worth more than one process, and the helpers do all the work.
SELECT format('ALTER DATABASE %I SET %s', current_database(), setting) FROM unnest(ARRAY[
	'min_parallel_table_scan_size = 0', 'parallel_setup_cost = 0', 'parallel_tuple_cost = 0',
	'parallel_leader_participation = off']) setting \gexec

CREATE TABLE country (code text PRIMARY KEY, name text);
INSERT INTO country VALUES ('de', 'Germany'), ('fr', 'France');
-- Is this a process that helps another one?
CREATE FUNCTION is_helper() RETURNS boolean STABLE PARALLEL SAFE LANGUAGE sql AS
	'SELECT leader_pid IS NOT NULL FROM pg_stat_activity WHERE pid = pg_backend_pid()';
CREATE FUNCTION must_not_help(value text) RETURNS text STABLE PARALLEL UNSAFE LANGUAGE plpgsql AS
	'BEGIN RETURN value || regress_projection_catchup.is_helper(); END';
-- Functions that ask for the batch themselves, and keep their plans from one to the next.
CREATE FUNCTION events_in_batch() RETURNS bigint STABLE LANGUAGE plpgsql AS
	'BEGIN RETURN (SELECT count(*) FROM regress_projection_catchup.new_events); END';
CREATE FUNCTION events_of_batch() RETURNS bigint STABLE LANGUAGE sql AS
	'SELECT count(*) FROM regress_projection_catchup.new_events';

-- An aggregate whose state is stored as it is, and is sent from one process to another.
CREATE FUNCTION extent_step(numeric[], numeric) RETURNS numeric[] IMMUTABLE PARALLEL SAFE LANGUAGE sql AS 'SELECT ARRAY[least($1[1], $2), greatest($1[2], $2)]';
CREATE FUNCTION extent_combine(numeric[], numeric[]) RETURNS numeric[] IMMUTABLE PARALLEL SAFE LANGUAGE sql AS
	'SELECT ARRAY[least($1[1], $2[1]), greatest($1[2], $2[2])]';
CREATE FUNCTION extent_final(numeric[]) RETURNS numeric IMMUTABLE PARALLEL SAFE LANGUAGE sql AS 'SELECT $1[2] - $1[1]';
CREATE AGGREGATE extent(numeric) (SFUNC = extent_step, STYPE = numeric[], COMBINEFUNC = extent_combine, FINALFUNC = extent_final,
	INITCOND = '{NULL,NULL}', PARALLEL = SAFE);

-- Each round of events is one big batch: 10 events, 20, 30, and so on, in its midst a gap of 6,000 positions.
CREATE PROCEDURE append_round(round integer) LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM evstore.append('order-' || n % 7, 'type' || n % 3, jsonb_build_object('country', (ARRAY['de', 'fr', 'xx', NULL])[1 + n % 4], 'total', n))
	FROM generate_series(1, 5 * round) n;
	COMMIT;
	PERFORM evstore.append('never', (SELECT array_agg(ROW('T', '0', NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, 6000)));
	ROLLBACK;
	PERFORM evstore.append('order-' || n % 7, 'type' || n % 3, jsonb_build_object('country', 'de', 'total', -n, 'round', round))
	FROM generate_series(1, 5 * round) n;
END
$$;
CREATE TABLE query (name text PRIMARY KEY, query text NOT NULL);
INSERT INTO query VALUES
('combined', $$
	SELECT data->>'country' AS country, count(*) AS n, sum((data->>'total')::numeric) AS total, avg((data->>'total')::integer) AS average,
		min((data->>'total')::integer) AS least, bool_and(data ? 'round') AS every_round
	FROM events GROUP BY 1$$),
('picked', $$
	SELECT stream, evstore.first(data, position) AS first, evstore.last(type, position) AS last, count(*) FILTER (WHERE type = 'type1') AS ones
	FROM events GROUP BY stream$$),
('joined', $$
	SELECT c.name, e.type, count(*) AS n FROM events e LEFT JOIN country c ON c.code = e.data->>'country' GROUP BY c.name, e.type$$),
('states', $$
	SELECT type, stddev((data->>'total')::integer) AS deviation, variance((data->>'total')::numeric) AS variance,
		round(corr((data->>'total')::float8, version)::numeric, 6) AS corr, extent((data->>'total')::numeric) AS extent
	FROM events GROUP BY type$$),
('all_states', $$SELECT stddev((data->>'total')::integer) AS deviation, extent((data->>'total')::numeric) AS extent, count(*) AS n FROM events$$),
('typed', $$
	SELECT (data->>'total')::numeric(6, 2) AS total, type::varchar(5) AS type, count(*) AS n FROM events GROUP BY 1, 2$$);

CALL append_round(1);
-- A row of every kind is there before the first big batch, or is not.
SELECT count(evstore.create_projection(name, query => query)) AS made FROM query;
-- (An expression without a column would be one group to the planner from version 17 on, and nothing to share.)
SELECT evstore.create_projection('helped', query => $$SELECT type <> '' AND is_helper() AS helper, count(*) AS n FROM events GROUP BY 1$$);
SELECT evstore.create_projection('not_helped', query => $$SELECT must_not_help('') AS helper, count(*) AS n FROM events GROUP BY 1$$);
SELECT evstore.create_projection('asking', query => 'SELECT events_in_batch() AS in_batch, events_of_batch() AS of_batch, count(*) AS n FROM events GROUP BY 1, 2');

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

-- Wait for every projection, so that the next round is a batch of its own.
CREATE PROCEDURE wait_all() LANGUAGE plpgsql AS
$$
BEGIN
	IF NOT (SELECT bool_and(evstore.wait_for(name)) FROM evstore.projections) THEN
		RAISE 'a projection does not catch up';
	END IF;
END
$$;
CALL wait_all();
DO $$
BEGIN
	FOR round IN 2..5 LOOP
		-- taken up together, though half a round is committed before the other half is there
		PERFORM evstore.pause_projection(name) FROM evstore.projections;
		COMMIT;
		CALL regress_projection_catchup.append_round(round);
		COMMIT;
		PERFORM evstore.resume_projection(name) FROM evstore.projections;
		COMMIT;
		CALL regress_projection_catchup.wait_all();
		COMMIT;
	END LOOP;
END
$$;

-- The law.
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
SELECT count(*), max(position) - min(position) > 30000 AS spread FROM events;
SELECT name, differences(name::regclass, query) FROM query ORDER BY name;
SELECT total FROM combined WHERE country = 'de';
-- Other processes did it where they may, as far as there were any left.
SELECT bool_or(helper) AS helped, sum(n) AS n FROM helped;
SELECT helper, n FROM not_helped;
-- Every batch saw itself, and no other.
SELECT in_batch, of_batch, n FROM asking ORDER BY n;

-- What the read table cannot take ends the batch; nothing of it stays.
ALTER TABLE combined ADD CONSTRAINT small CHECK (n < 100);
CALL append_round(20);
CALL until($$state = 'failing' FROM evstore.projections WHERE name = 'combined'$$);
SELECT state, split_part(last_error, E'\n', 1) AS error, last_error ~ 'CONTEXT: .*projection "combined", events after position \d+ up to \d+' AS says_where
FROM evstore.projections WHERE name = 'combined';
SELECT sum(n) FROM combined;
ALTER TABLE combined DROP CONSTRAINT small;
CALL wait_all();
SELECT name, differences(name::regclass, query) FROM query ORDER BY name;

SELECT format('ALTER DATABASE %I RESET %s', current_database(), setting) FROM unnest(ARRAY[
	'min_parallel_table_scan_size', 'parallel_setup_cost', 'parallel_tuple_cost', 'parallel_leader_participation']) setting \gexec
SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_catchup CASCADE;
