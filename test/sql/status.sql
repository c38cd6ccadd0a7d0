-- The status views: where each projection stands, that one which fails is
-- shown as failing and recovers by itself, and who holds the mark back.

CREATE SCHEMA regress_status;
SET search_path = regress_status;
SELECT evstore.create_event_table();

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

SELECT count(*) FROM evstore.projections;
SELECT count(*) FROM evstore.appenders;

-- A projection that has come to the end of the log is live.
SELECT evstore.create_projection('regress_good', query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream');
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}');
SELECT version, position AS last_position FROM evstore.append('order-1', 'OrderPaid', '{"total": 0}') \gset
SELECT evstore.wait_for('regress_good');
SELECT name, kind, mode, state, owner = CURRENT_USER::regrole AS mine, event_table, read_table,
	position >= :last_position AS applied, head >= :last_position AS head, lag_events, lag_seconds,
	events_per_second >= 0 AS speed, applied_at IS NOT NULL AS applied_at, failures, failed_at, last_error
FROM evstore.projections;

-- One whose statement fails says so, and why; the other goes on.
CREATE TABLE strict_total (stream text, total numeric CHECK (total > 0));
SELECT evstore.create_projection('regress_bad', statement =>
	$$INSERT INTO strict_total SELECT stream, (data->>'total')::numeric FROM new_events$$);
CALL until($$state = 'failing' FROM evstore.projections WHERE name = 'regress_bad'$$);
SELECT name, state, position < :last_position AS not_applied, lag_events > 0 AS behind, lag_seconds > 0 AS late,
	failures > 0 AS failures, failed_at IS NOT NULL AS failed_at, regexp_replace(last_error, '\d+$|(?<=position )\d+', 'N', 'g') AS last_error
FROM evstore.projections WHERE name = 'regress_bad';
SELECT count(*) FROM strict_total;
SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{"total": 20}');
SELECT evstore.wait_for('regress_good');
SELECT stream, events FROM regress_good ORDER BY stream;
SELECT evstore.wait_for('regress_bad', timeout => '20 milliseconds');
-- it tries again by itself, and again
CALL until($$failures >= 2 FROM evstore.projections WHERE name = 'regress_bad'$$);
-- the error is for its owner's eyes
CREATE ROLE regress_status_reader;
SET ROLE regress_status_reader;
SELECT name, state, last_error FROM evstore.projections ORDER BY name;
RESET ROLE;
-- mended, it recovers by itself, and nothing is there twice
ALTER TABLE strict_total DROP CONSTRAINT strict_total_total_check;
SELECT evstore.wait_for('regress_bad', timeout => '2 minutes');
SELECT name, state, lag_events, failures, last_error FROM evstore.projections ORDER BY name;
SELECT stream, total FROM strict_total ORDER BY stream, total;

-- A failure is over with the first batch that succeeds, even one that has nothing to change.
CREATE FUNCTION wanted(data jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RAISE EXCEPTION 'not now'; END$$;
SELECT evstore.create_projection('regress_idle', query => $$
	SELECT stream, count(*) AS events FROM events WHERE wanted(data) GROUP BY stream $$);
CALL until($$state = 'failing' FROM evstore.projections WHERE name = 'regress_idle'$$);
CREATE OR REPLACE FUNCTION wanted(data jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
	$$BEGIN RETURN false; END$$;
SELECT evstore.wait_for('regress_idle', timeout => '2 minutes');
SELECT state, lag_events, failures, failed_at, last_error FROM evstore.projections WHERE name = 'regress_idle';
SELECT count(*) FROM regress_idle;
SELECT evstore.drop_projection('regress_idle');

-- A projection can be held where it is, and go on from there.
SELECT evstore.pause_projection('regress_good');
SELECT state FROM evstore.projections WHERE name = 'regress_good';
SELECT evstore.pause_projection('regress_good');
SELECT version FROM evstore.append('order-2', 'OrderPaid', '{"total": 1}');
SELECT evstore.wait_for('regress_bad');
SELECT evstore.wait_for('regress_good', timeout => '20 milliseconds');
SELECT stream, events FROM regress_good ORDER BY stream;
SELECT evstore.resume_projection('regress_good');
SELECT evstore.wait_for('regress_good');
SELECT stream, events FROM regress_good ORDER BY stream;
SELECT state FROM evstore.projections WHERE name = 'regress_good';
SELECT evstore.resume_projection('regress_good');
BEGIN;
SELECT evstore.pause_projection('regress_good');
ROLLBACK;
SELECT state FROM evstore.projections WHERE name = 'regress_good';
SELECT evstore.pause_projection('regress_no_such_projection');
\echo :SQLSTATE
SELECT evstore.resume_projection('regress_no_such_projection');
\echo :SQLSTATE
SELECT evstore.pause_projection(NULL), evstore.resume_projection(NULL);
BEGIN READ ONLY;
SELECT evstore.pause_projection('regress_good');
\echo :SQLSTATE
ROLLBACK;

-- Who holds the mark back: this session, from its first event to its end.
BEGIN;
SELECT version, position AS own_position FROM evstore.append('order-3', 'OrderPlaced', '{}') \gset
SELECT version FROM evstore.append('order-3', 'OrderPaid', '{}');
SELECT pid = pg_backend_pid() AS mine, lowest_position <= :own_position AND lowest_position > :last_position AS lowest_position,
	since BETWEEN transaction_timestamp() AND clock_timestamp() AS since
FROM evstore.appenders;
SELECT head < :own_position AS held_back FROM evstore.projections WHERE name = 'regress_good';
COMMIT;
SELECT count(*) FROM evstore.appenders;
BEGIN;
SAVEPOINT s;
SELECT version FROM evstore.append('order-3', 'OrderShipped', '{}');
ROLLBACK TO s;
SELECT count(*) FROM evstore.appenders WHERE pid = pg_backend_pid();
ROLLBACK;
SELECT count(*) FROM evstore.appenders;

SELECT evstore.drop_projection('regress_good'), evstore.drop_projection('regress_bad');
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_status CASCADE;
DROP ROLE regress_status_reader;
