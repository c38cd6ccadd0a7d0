-- Rebuilding projections that have passed or stopped at events: what the rebuild
-- does with them counts, and what was before it does not.

CREATE SCHEMA regress_rebuild_failure;
SET search_path = regress_rebuild_failure;
SELECT evstore.create_event_table();

-- Waits until a rebuild is over, or has stopped.
CREATE FUNCTION rebuilt(name text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	now_is text;
BEGIN
	FOR i IN 1..6000 LOOP
		SELECT state INTO now_is FROM evstore.rebuild_progress WHERE projection = name;
		IF NOT FOUND THEN
			RETURN 'over';
		END IF;
		EXIT WHEN now_is = 'stopped';
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN now_is;
END
$$;
-- Waits until a projection has stopped.
CREATE FUNCTION stops(projection text) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
	FOR i IN 1..6000 LOOP
		IF (SELECT state = 'stopped' FROM evstore.projections WHERE name = projection) THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END
$$;

-- Which events fail is in a table that no projection writes.
CREATE TABLE bad (v int);
INSERT INTO bad VALUES (2), (5);
CREATE FUNCTION pick(e evstore.event) RETURNS int LANGUAGE plpgsql AS
$$
BEGIN
	IF EXISTS (SELECT FROM regress_rebuild_failure.bad WHERE v = (e.data->>'v')::int) THEN
		RAISE data_exception USING message = 'event ' || (e.data->>'v') || ' is bad';
	END IF;
	RETURN (e.data->>'v')::int;
END
$$;
CREATE TABLE skips (v int PRIMARY KEY);
CREATE TABLE parks (v int PRIMARY KEY);
CREATE TABLE halts (v int PRIMARY KEY);
CREATE FUNCTION to_skips(e evstore.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN INSERT INTO skips VALUES (regress_rebuild_failure.pick(e)); END';
CREATE FUNCTION to_parks(e evstore.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN INSERT INTO parks VALUES (regress_rebuild_failure.pick(e)); END';
CREATE FUNCTION to_halts(e evstore.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN INSERT INTO halts VALUES (regress_rebuild_failure.pick(e)); END';
SELECT evstore.create_projection('skips', handler => 'to_skips', read_tables => '{skips}', on_error => 'skip', retries => 0);
SELECT evstore.create_projection('parks', handler => 'to_parks', read_tables => '{parks}', on_error => 'park', retries => 0);
SELECT evstore.create_projection('halts', handler => 'to_halts', read_tables => '{halts}', on_error => 'stop', retries => 0);
CREATE VIEW standing AS
	SELECT name, state, failures, failed_position IS NOT NULL AS blamed, last_error IS NOT NULL AS failed, skipped_events, parked_streams
	FROM evstore.projections;
CREATE VIEW kept AS
	SELECT (SELECT array_agg(v ORDER BY v) FROM skips) AS skips, (SELECT array_agg(v ORDER BY v) FROM parks) AS parks,
		(SELECT array_agg(v ORDER BY v) FROM halts) AS halts;
CREATE VIEW passed AS
	SELECT s.projection, e.data->>'v' AS v, s.parked, s.message
	FROM evstore.skipped_events s JOIN events e USING (position);

SELECT count(*) FROM evstore.append('a', (SELECT array_agg(('T', jsonb_build_object('v', v), NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, 3) v));
SELECT count(*) FROM evstore.append('b', (SELECT array_agg(('T', jsonb_build_object('v', v), NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(4, 6) v));
SELECT evstore.wait_for('skips'), evstore.wait_for('parks'), stops('halts');
SELECT * FROM standing ORDER BY name;
SELECT * FROM kept;
SELECT * FROM passed ORDER BY projection, v;

-- One of the events has become good. The rebuild of each fails on the other.
DELETE FROM bad WHERE v = 2;
SELECT evstore.rebuild_projection(name) FROM unnest('{halts,parks,skips}'::text[]) name;
SELECT name, rebuilt(name) FROM unnest('{halts,parks,skips}'::text[]) name;
SELECT projection, state, failures, split_part(last_error, E'\n', 1) AS last_error FROM evstore.rebuild_progress;
SELECT * FROM standing ORDER BY name;
SELECT * FROM kept;
SELECT * FROM passed ORDER BY projection, v;

-- What is parked stays so for events to come; the others go on.
SELECT count(*) FROM evstore.append('b', ARRAY[('T', '{"v": 7}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
SELECT count(*) FROM evstore.append('c', ARRAY[('T', '{"v": 8}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
SELECT evstore.wait_for('skips'), evstore.wait_for('parks');
SELECT * FROM kept;
SELECT * FROM passed ORDER BY projection, v;

-- A rebuild that has stopped is tried again with its projection, and brings it beyond the event that it had stopped at.
DELETE FROM bad;
SELECT evstore.retry_projection('halts');
SELECT rebuilt('halts'), evstore.wait_for('halts');
SELECT evstore.rebuild_projection(name) FROM unnest('{parks,skips}'::text[]) name;
SELECT name, rebuilt(name) FROM unnest('{parks,skips}'::text[]) name;
SELECT * FROM standing ORDER BY name;
SELECT * FROM kept;
SELECT count(*) FROM passed;
SELECT name, (SELECT count(*) FROM evstore.verify_projection(name)) AS differences FROM standing ORDER BY name;
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname LIKE 'evstore\_shadow\_%';

SELECT evstore.drop_projection(name) FROM standing ORDER BY name;
SELECT (SELECT count(*) FROM evstore._skipped) AS skipped, (SELECT count(*) FROM evstore._parked) AS parked;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_rebuild_failure CASCADE;
