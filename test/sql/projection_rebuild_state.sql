-- Truth of queries that are kept behind a view, of grand totals, and of inline
-- projections.

CREATE SCHEMA regress_rebuild_state;
SET search_path = regress_rebuild_state;
SELECT evstore.create_event_table();

-- Waits until a rebuild is over.
CREATE FUNCTION rebuilt(name text) RETURNS boolean LANGUAGE plpgsql AS
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

-- Waits until a rebuild has stopped.
CREATE FUNCTION stopped(name text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	error text;
BEGIN
	FOR i IN 1..6000 LOOP
		SELECT split_part(last_error, E'\n', 1) INTO error FROM evstore.rebuild_progress WHERE projection = name AND state = 'stopped';
		EXIT WHEN FOUND;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN error;
END
$$;

SELECT evstore.create_projection('means', query => $$
	SELECT data->>'k' AS k, sum((data->>'x')::numeric) / count(*) AS mean, stddev((data->>'x')::numeric) AS spread
	FROM events GROUP BY data->>'k' HAVING count(*) > 1$$);
SELECT evstore.create_projection('total', query => 'SELECT count(*) AS n, sum((data->>''x'')::numeric) AS x FROM events');
SELECT evstore.create_projection('counts', mode => 'inline', query => 'SELECT data->>''k'' AS k, count(*) AS n FROM events GROUP BY 1');

-- Before there is an event.
SELECT evstore.wait_for_all();
SELECT * FROM evstore.verify_projection('total');
SELECT n, x FROM evstore.projection_as_of(NULL::total, 0);

SELECT count(*) FROM evstore.append('s', (SELECT array_agg(('T', jsonb_build_object('k', i % 3, 'x', i), NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, 9) i));
SELECT max(position) AS first FROM events \gset
SELECT count(*) FROM evstore.append('s', (SELECT array_agg(('T', jsonb_build_object('k', i, 'x', i), NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, 4) i));
SELECT evstore.wait_for_all();
SELECT k, round(mean, 3) AS mean, round(spread, 3) AS spread FROM means ORDER BY k;
SELECT name, (SELECT count(*) FROM evstore.verify_projection(name)) AS differences FROM evstore.projections WHERE event_table = 'events'::regclass ORDER BY name;

-- As they were: what the view leaves out is left out of the past, too.
SELECT k, round(mean, 3) AS mean, round(spread, 3) AS spread FROM evstore.projection_as_of(NULL::means, :first) ORDER BY k;
SELECT n, x FROM evstore.projection_as_of(NULL::total, :first);
SELECT k, n FROM evstore.projection_as_of(NULL::counts, :first) ORDER BY k;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT k, n FROM evstore.projection_as_of(NULL::counts, :first) ORDER BY k;
ROLLBACK;

-- Whatever is done to the stored tables is seen and mended.
DELETE FROM means_state WHERE k = '1';
UPDATE means_state SET k = '7' WHERE k = '4';
UPDATE total SET n = n + 1;
SELECT key FROM evstore.verify_projection('means') ORDER BY key::text;
SELECT expected->'n' AS expected, actual->'n' AS actual FROM evstore.verify_projection('total');
SELECT evstore.rebuild_projection('means');
SELECT evstore.rebuild_projection('total');
SELECT rebuilt('means'), rebuilt('total');
SELECT k, round(mean, 3) AS mean, round(spread, 3) AS spread FROM means ORDER BY k;
SELECT n, x FROM total;
SELECT count(*) FROM evstore.append('s', ARRAY[('T', '{"k": 4, "x": 8}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
SELECT evstore.wait_for_all();
SELECT name, (SELECT count(*) FROM evstore.verify_projection(name)) AS differences FROM evstore.projections WHERE event_table = 'events'::regclass ORDER BY name;
SELECT k, round(mean, 3) AS mean FROM means WHERE k = '4';

-- A total can be replaced by another total.
SELECT evstore.replace_projection('total', query => 'SELECT count(*) AS n, max((data->>''x'')::numeric) AS largest FROM events');
SELECT rebuilt('total');
SELECT n, largest FROM total;
SELECT * FROM evstore.verify_projection('total');

-- Inline ones are verified, and rebuilt while they stay inline.
UPDATE counts SET n = 0 WHERE k = '2';
SELECT key, expected->'n' AS expected, actual->'n' AS actual FROM evstore.verify_projection('counts');
BEGIN;
SELECT evstore.rebuild_projection('counts');
SELECT count(*) FROM evstore.append('s', ARRAY[('T', '{"k": 2, "x": 1}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
SELECT n FROM counts WHERE k = '2';
COMMIT;
SELECT rebuilt('counts');
SELECT count(*) FROM evstore.verify_projection('counts');
SELECT mode, state FROM evstore.projections WHERE name = 'counts';
SELECT n FROM counts WHERE k = '2';
SELECT count(*) FROM evstore.append('s', ARRAY[('T', '{"k": 2, "x": 1}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
SELECT n FROM counts WHERE k = '2';
-- Another definition, which computes; what could not be inline is refused.
SELECT evstore.replace_projection('counts', query => 'SELECT data->>''k'' AS k, array_agg(version ORDER BY position) AS n FROM events GROUP BY 1');
SELECT evstore.replace_projection('counts', query => 'SELECT data->>''k'' AS k, 10 * count(*) AS n FROM events GROUP BY 1');
SELECT rebuilt('counts');
SELECT count(*) FROM evstore.append('s', ARRAY[('T', '{"k": 2, "x": 1}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
SELECT n FROM counts WHERE k = '2';
SELECT count(*) FROM evstore.verify_projection('counts');
-- It stops at an event that fails, whatever it would have done before it was inline, and appends go on.
SELECT evstore.set_projection('counts', on_error => 'skip', retries => 0);
SELECT evstore.replace_projection('counts', query => 'SELECT data->>''k'' AS k, sum((data->>''bad'')::integer) AS n FROM events GROUP BY 1');
SELECT count(*) FROM evstore.append('s', ARRAY[('T', '{"k": 2, "x": 1}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
SELECT rebuilt('counts');
SELECT n FROM counts WHERE k = '2';
SELECT evstore.replace_projection('counts', query => 'SELECT data->>''k'' AS k, sum(1 / ((data->>''x'')::integer - 9)) AS n FROM events GROUP BY 1');
SELECT stopped('counts');
SELECT count(*) FROM evstore.append('s', ARRAY[('T', '{"k": 2, "x": 1}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
SELECT evstore.cancel_rebuild('counts');
SELECT count(*) FROM evstore.verify_projection('counts');
-- Workers may take it over while it is being rebuilt.
BEGIN;
SELECT evstore.rebuild_projection('counts');
SELECT evstore.set_projection('counts', mode => 'async');
COMMIT;
SELECT rebuilt('counts');
SELECT mode, state FROM evstore.projections WHERE name = 'counts';
SELECT count(*) FROM evstore.verify_projection('counts');
-- But none becomes inline while it is being rebuilt.
BEGIN;
SELECT evstore.rebuild_projection('means');
SELECT evstore.set_projection('means', mode => 'inline');
ROLLBACK;
CREATE TABLE seen (v bigint);
SELECT evstore.create_projection('seen', mode => 'inline', read_table => 'seen', statement => 'INSERT INTO seen SELECT position FROM new_events');
SELECT * FROM evstore.verify_projection('seen');
DELETE FROM seen;
SELECT evstore.rebuild_projection('seen');
SELECT rebuilt('seen');
SELECT count(*) = (SELECT count(*) FROM events) AS all_seen FROM seen;
-- Over another event table, it is applied by those who append there.
SELECT evstore.create_event_table('others');
SELECT evstore.create_projection('moved', mode => 'inline', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT count(*) FROM evstore.append('o', 'O', 'null', event_table => 'others');
SELECT evstore.replace_projection('moved', query => 'SELECT type, count(*) AS n FROM others GROUP BY type');
SELECT rebuilt('moved');
SELECT count(*) FROM evstore.append('o', 'O', 'null', event_table => 'others');
SELECT count(*) FROM evstore.append('s', 'O', 'null');
TABLE moved;
SELECT event_table, mode, state FROM evstore.projections WHERE name = 'moved';
SELECT count(*) FROM evstore.verify_projection('moved');
SELECT evstore.drop_projection('moved');

SELECT evstore.drop_projection(name) FROM evstore.projections WHERE event_table = 'events'::regclass ORDER BY name;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_rebuild_state CASCADE;
