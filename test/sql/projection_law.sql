-- The law of projections: for every way of cutting the log into batches, the
-- read table equals the query over the whole log. Random logs, random batch
-- sizes, batches cut wherever the workers happen to be.

CREATE SCHEMA regress_projection_law;
SET search_path = regress_projection_law;
SELECT evstore.create_event_table();
SELECT evstore.create_event_table('ledger');
SELECT setseed(0.20);

CREATE TABLE category (name text PRIMARY KEY, colour text);
INSERT INTO category VALUES ('cat0', 'red'), ('cat1', 'blue'), ('cat2', NULL);

-- The queries. Each gets one projection for every batch size.
CREATE TABLE query (name text PRIMARY KEY, query text NOT NULL);
INSERT INTO query VALUES
('everything', $$
	SELECT split_part(stream, '-', 1) AS category, data->>'k' AS k,
		count(*) AS n, count(data->>'x') AS n_x, count(*) FILTER (WHERE (data->>'x')::integer > 0) AS n_positive,
		sum((data->>'x')::integer) AS total, sum((data->>'y')::numeric) AS total_y,
		min((data->>'x')::integer) AS least, max((data->>'y')::numeric) AS most, min(data->>'k') AS least_k,
		avg((data->>'x')::integer) AS average, avg((data->>'y')::numeric) FILTER (WHERE type <> 't1') AS average_y,
		bool_and((data->>'x')::integer > -90) AS all_above, bool_or((data->>'x')::integer > 90) AS any_above,
		bit_and((data->>'x')::integer) AS all_bits, bit_or((data->>'x')::integer) AS any_bit,
		evstore.first(data->>'x', position) AS first_x, evstore.last(data->>'x', position) AS last_x,
		evstore.last(version, position) FILTER (WHERE type = 't2') AS last_t2
	FROM events GROUP BY 1, 2$$),
('by_stream', $$
	SELECT stream, count(*) AS n, evstore.last(type, position) AS status, max(version) AS version, sum((data->>'y')::numeric) AS y
	FROM events WHERE type <> 't0' GROUP BY stream$$),
('by_colour', $$
	SELECT c.colour, e.type, count(*) AS n, count(c.name) AS known
	FROM events e LEFT JOIN category c ON c.name = split_part(e.stream, '-', 1) GROUP BY c.colour, e.type$$),
('by_item', $$
	SELECT item, count(*) AS n, count(e.position) AS positions, evstore.first(version, position) AS first
	FROM events e, jsonb_array_elements_text(data->'items') AS item GROUP BY item$$),
('by_key', $$
	SELECT data->>'k' AS k, (data->>'x')::integer % 3 AS x FROM events GROUP BY 1, 2$$),
('total', $$
	SELECT count(*) AS n, sum((data->>'x')::integer) AS x, avg((data->>'y')::numeric) AS y, min(stream) AS least,
		evstore.first(type, position) AS first, evstore.last(data->>'k', position) AS last
	FROM events$$),
('rare_total', $$
	SELECT count(*) AS n, max((data->>'x')::integer) AS x FROM events WHERE data->>'x' = '7' GROUP BY ()$$),
('computed', $$
	SELECT data->>'k' AS k, coalesce(data->>'k', 'none') AS label, count(*) + 1 AS more,
		sum((data->>'x')::integer) - min((data->>'x')::integer) AS above, 100.0 * count(*) FILTER (WHERE type = 't1') / count(*) AS percent,
		sum((data->>'x')::integer) AS x, round(avg((data->>'y')::numeric), 2) AS y, evstore.last(type, position) || ' last' AS last
	FROM events GROUP BY data->>'k' HAVING count(*) > 40 AND evstore.last(data->>'x', position) IS NOT NULL$$),
('states', $$
	SELECT data->>'k' AS k, stddev((data->>'x')::integer) AS deviation, var_pop((data->>'y')::numeric) AS variance, variance((data->>'x')::bigint) FILTER (WHERE type = 't1') AS some,
		round(corr((data->>'x')::float8, (data->>'y')::float8)::numeric, 6) AS corr, round(regr_slope((data->>'x')::float8, version)::numeric, 6) AS slope,
		range_agg(int4range((data->>'x')::integer, (data->>'x')::integer + 3)) AS covered, range_intersect_agg(int4range(-200, (data->>'x')::integer)) AS common
	FROM events GROUP BY data->>'k'$$),
('state_total', $$
	SELECT stddev((data->>'x')::integer) AS deviation, round(stddev((data->>'y')::float8)::numeric, 6) AS of_float, bit_xor((data->>'x')::integer) AS odd,
		round(covar_samp((data->>'x')::float8, (data->>'y')::float8)::numeric, 4) AS covariance
	FROM events WHERE type = 't3'$$),
('collected', $$
	SELECT data->>'k' AS k, array_agg(data->>'x' ORDER BY position) AS xs, string_agg(type, ',' ORDER BY position DESC) FILTER (WHERE data ? 'x') AS types,
		jsonb_object_agg(stream, data->'y' ORDER BY position) AS ys, cardinality(array_agg(version ORDER BY position)) AS versions
	FROM events GROUP BY data->>'k'$$),
('both_tables', $$
	SELECT split_part(u.stream, '-', 1) AS category, u.source, count(*) AS n, sum(u.x) AS x, evstore.last(u.stream, u.position) AS last,
		string_agg(u.source, '' ORDER BY u.position) AS sources, count(*) FILTER (WHERE u.x > 0) * 100 / count(*) AS positive
	FROM (SELECT position, stream, (data->>'x')::integer AS x, 'e' AS source FROM events WHERE type <> 't2'
		UNION ALL SELECT position, stream, -(data->>'x')::integer, 'l' FROM ledger) u GROUP BY 1, 2$$),
('total_of_both', $$
	SELECT count(*) AS n, max(u.position) AS last FROM (SELECT position FROM ledger UNION ALL SELECT position FROM events WHERE type = 't1') u$$),
('computed_total', $$
	SELECT count(*) = 0 AS none, coalesce(max((data->>'x')::integer), 0) AS x FROM events WHERE type = 't2' HAVING count(*) % 2 = 0$$);

-- Batches of one event, of two, of random sizes, of everything at once.
CREATE TABLE cut AS
	SELECT row_number() OVER () AS no, batch_size
	FROM (VALUES (1), (2), (3 + (random() * 7)::integer), (11 + (random() * 50)::integer), (100 + (random() * 400)::integer), (1000000)) s (batch_size);
CREATE TABLE projection AS
	SELECT q.name, q.query, q.name || '_' || c.no AS projection, c.no, c.batch_size FROM query q, cut c;

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

-- Random events: few streams and keys, so that every key is met again and
-- again; NULL and missing values in every place.
CREATE PROCEDURE append_random(events integer) LANGUAGE plpgsql AS
$$
DECLARE
	appended integer := 0;
	batch evstore.new_event[];
BEGIN
	WHILE appended < events LOOP
		SELECT array_agg((
				't' || (random() * 3)::integer,
				jsonb_strip_nulls(jsonb_build_object(
					'k', CASE WHEN random() < 0.8 THEN 'k' || (random() * 4)::integer END,
					'x', CASE WHEN random() < 0.8 THEN (random() * 200 - 100)::integer END,
					'y', CASE WHEN random() < 0.8 THEN round((random() * 1000)::numeric, (random() * 3)::integer) END,
					'items', CASE WHEN random() < 0.5 THEN (SELECT jsonb_agg('i' || (random() * 5)::integer) FROM generate_series(1, n % 4)) END)),
				NULL, NULL, NULL, NULL)::evstore.new_event)
		INTO batch FROM generate_series(1, 1 + (random() * 9)::integer) n;
		PERFORM evstore.append('cat' || (random() * 3)::integer || '-' || (random() * 10)::integer, batch,
			event_table => CASE WHEN random() < 0.3 THEN 'ledger'::regclass ELSE 'events' END);
		appended := appended + cardinality(batch);
		-- now and then the log is cut by a commit, or a part of it never was: a gap
		-- in the positions, that makes a batch a big one though it has few events
		IF random() < 0.1 THEN
			PERFORM evstore.append('never', array_fill(batch[1], ARRAY[500]));
			ROLLBACK;
		ELSIF random() < 0.5 THEN
			COMMIT;
		END IF;
	END LOOP;
END
$$;

-- One half follows the log from its first event on, one half finds 350 events.
SELECT count(evstore.create_projection(projection, query => query, batch_size => batch_size)) AS made
FROM projection WHERE no % 2 = 0;
CALL append_random(350);
SELECT count(evstore.create_projection(projection, query => query, batch_size => batch_size)) AS made
FROM projection WHERE no % 2 = 1;
CALL append_random(350);
CALL append_random(350);

SELECT count(*) > 500 AS enough_events, count(DISTINCT stream) > 20 AS enough_streams FROM events;
SELECT projection FROM projection WHERE NOT evstore.wait_for(projection) ORDER BY projection;
SELECT name, no, differences(projection::regclass, query) FROM projection ORDER BY name, no;

-- The same again, when the workers find nothing running.
CALL append_random(100);
SELECT projection FROM projection WHERE NOT evstore.wait_for(projection) ORDER BY projection;
SELECT sum(differences(projection::regclass, query)) AS differences FROM projection;

-- The comparison does see a difference.
UPDATE everything_1 SET n = n + 1 WHERE ctid = (SELECT min(ctid) FROM everything_1);
DELETE FROM by_stream_2 WHERE ctid = (SELECT min(ctid) FROM by_stream_2);
SELECT projection, differences(projection::regclass, query) FROM projection
WHERE projection IN ('everything_1', 'by_stream_2') ORDER BY projection;

SELECT count(evstore.drop_projection(projection)) AS dropped FROM projection;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_law CASCADE;
