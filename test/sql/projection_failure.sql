-- What becomes of a projection that fails: the one event is found, and stopped
-- at, skipped or parked; what is no event's fault is tried again for ever.

CREATE SCHEMA regress_projection_failure;
SET search_path = regress_projection_failure;
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

-- A handler that fails on events that say so, with the SQLSTATE that they name, until that is mended.
CREATE TABLE mended (code text PRIMARY KEY);
CREATE TABLE applied (n bigint GENERATED ALWAYS AS IDENTITY, "position" bigint, stream text, version bigint);
CREATE FUNCTION take(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO applied ("position", stream, version) VALUES (e.position, e.stream, e.version);
	IF e.data ? 'poison' AND NOT EXISTS (SELECT FROM mended WHERE code = e.data->>'poison') THEN
		RAISE EXCEPTION 'cannot take %', e.type USING ERRCODE = e.data->>'poison', DETAIL = 'Too bitter.', HINT = 'Add sugar.';
	END IF;
END $$;
-- Events n to m of one stream or (in turns) of three, those poisoned that are named.
CREATE FUNCTION pour(streams text[], n integer, m integer, poisoned integer[] DEFAULT '{}', code text DEFAULT 'P0001')
RETURNS void LANGUAGE sql AS $$
	SELECT evstore.append(streams[1 + i % cardinality(streams)], 'Poured', CASE WHEN i = ANY (poisoned) THEN
		jsonb_build_object('i', i, 'poison', code) ELSE jsonb_build_object('i', i) END) FROM generate_series(n, m) i $$;
-- What was applied, what was not, and whether anything was twice or in the wrong order.
CREATE VIEW outcome AS SELECT
	(SELECT count(*) FROM applied) AS applied, (SELECT count(*) FROM events) AS events,
	(SELECT count(*) = count(DISTINCT "position") FROM applied) AS each_once,
	(SELECT coalesce(bool_and(in_order), true) FROM (SELECT version > lag(version) OVER (PARTITION BY stream ORDER BY n) IS NOT FALSE AS in_order FROM applied) o) AS in_order;
CREATE VIEW state AS SELECT p.name, p.state, p.failures > 0 AS failed, e.data->>'i' AS failed_on, p.skipped_events, p.parked_streams
FROM evstore.projections p LEFT JOIN events e ON e.position = p.failed_position;

-- Stop: the default, after some retries. All before the event is applied, the event and what follows it not.
SELECT pour('{a-1}', 1, 20, '{13}');
SELECT evstore.create_projection('stops', handler => 'take', retries => 0);
SELECT on_error, retries, timeout, priority, batch_size FROM evstore.projections;
CALL until($$state = 'stopped' FROM evstore.projections$$);
TABLE state;
SELECT position = failed_position - 1 AS before_it, failures, regexp_replace(last_error, '(?<=position |_batch_|to )\d+', 'N', 'g') AS last_error
FROM evstore.projections;
TABLE outcome;
SELECT evstore.wait_for('stops', timeout => '20 milliseconds');
-- Paused or resumed, it is stopped; tried again, it stops again.
SELECT evstore.pause_projection('stops');
SELECT state FROM evstore.projections;
SELECT evstore.resume_projection('stops');
SELECT state FROM evstore.projections;
SELECT failed_at AS stopped_at FROM evstore.projections \gset
SELECT evstore.retry_projection('stops');
CALL until(format($$state = 'stopped' AND failed_at > %L FROM evstore.projections$$, :'stopped_at'));
TABLE state;
TABLE outcome;
-- Mended and tried again, it goes on.
INSERT INTO mended VALUES ('P0001');
SELECT evstore.retry_projection('stops');
SELECT evstore.wait_for('stops');
TABLE state;
SELECT last_error, failed_at, failed_position FROM evstore.projections;
TABLE outcome;
-- As long as there are retries left, it is failing, and mends itself.
TRUNCATE mended;
SELECT evstore.set_projection('stops', retries => 100);
SELECT pour('{a-1}', 21, 30, '{25,26}');
CALL until($$failures > 0 FROM evstore.projections$$);
TABLE state;
TABLE outcome;
INSERT INTO mended VALUES ('P0001');
SELECT evstore.wait_for('stops', timeout => '2 minutes');
TABLE state;
TABLE outcome;
SELECT evstore.drop_projection('stops');
TRUNCATE mended, applied;

-- Skip: those events are passed, and those only, whatever they are between.
SELECT pour('{b-1,b-2,b-3}', 31, 130, '{31,77,78,130}');
SELECT evstore.create_projection('skips', handler => 'take', on_error => 'skip', retries => 0);
SELECT evstore.wait_for('skips');
TABLE state;
TABLE outcome;
SELECT s.projection, e.data->>'i' AS i, s.stream = e.stream AND s.version = e.version AND s.type = e.type AS same, s.parked, s.sqlstate,
	s.message, s.detail, s.hint, regexp_replace(s.context, '\d+', 'N', 'g') AS context
FROM evstore.skipped_events s JOIN events e USING (position) ORDER BY position;
-- What it is about is for those who may read the events, the error for the owner's eyes.
CREATE ROLE regress_failure_stranger;
CREATE ROLE regress_failure_reader;
CREATE ROLE regress_failure_owner;
GRANT USAGE ON SCHEMA regress_projection_failure TO regress_failure_reader, regress_failure_owner;
GRANT SELECT ON events TO regress_failure_reader, regress_failure_owner;
SET ROLE regress_failure_stranger;
SELECT DISTINCT projection, event_table, stream, version, type, parked, sqlstate, message, detail, hint, context FROM evstore.skipped_events;
RESET ROLE;
SET ROLE regress_failure_reader;
SELECT DISTINCT projection, stream, type, sqlstate, message, detail, hint, context FROM evstore.skipped_events ORDER BY stream LIMIT 1;
\set VERBOSITY terse
SELECT evstore.retry_projection('skips');
SELECT evstore.set_projection('skips', retries => 1);
SELECT evstore.replay_parked('skips', 'b-1');
\set VERBOSITY default
RESET ROLE;
-- Nothing is parked, so nothing is replayed.
SELECT evstore.replay_parked('skips', 'b-1');
SELECT evstore.drop_projection('skips');
SELECT count(*) FROM evstore._skipped;
TRUNCATE applied;

-- Skipped in a set: the read table is the query over all other events.
SELECT evstore.create_projection('amounts', on_error => 'skip', retries => 0, batch_size => 30, query => $$
	SELECT stream, count(*) AS n, sum((data->>'amount')::numeric) AS amount FROM events WHERE type = 'Paid' GROUP BY stream $$);
SELECT count(evstore.append('c-' || i % 5, 'Paid', jsonb_build_object('amount', CASE WHEN i % 41 = 7 THEN 'much' ELSE i::text END)))
FROM generate_series(1, 200) i;
SELECT evstore.wait_for('amounts');
SELECT state, skipped_events FROM evstore.projections;
CREATE VIEW differences AS
	(SELECT stream, n, amount FROM amounts EXCEPT ALL
	SELECT stream, count(*), sum((data->>'amount')::numeric) FROM events WHERE type = 'Paid'
		AND position NOT IN (SELECT position FROM evstore.skipped_events WHERE projection = 'amounts') GROUP BY stream)
	UNION ALL
	(SELECT stream, count(*), sum((data->>'amount')::numeric) FROM events WHERE type = 'Paid'
		AND position NOT IN (SELECT position FROM evstore.skipped_events WHERE projection = 'amounts') GROUP BY stream
	EXCEPT ALL SELECT stream, n, amount FROM amounts);
SELECT sum(n) AS n FROM amounts;
TABLE differences;
SELECT DISTINCT message FROM evstore.skipped_events;
DROP VIEW differences;
SELECT evstore.drop_projection('amounts');

-- Park: the stream is held back from there on, others go on.
INSERT INTO mended VALUES ('P0001');
SELECT evstore.create_projection('parks', handlers => '{"Poured": "take"}', on_error => 'park', retries => 0, batch_size => 7);
SELECT evstore.wait_for('parks');
TRUNCATE applied, mended;
SELECT pour('{d-1,d-2,d-3}', 131, 190, '{140,150}');
SELECT (evstore.append_if(evstore.events('[{"type": "Poured", "data": {"i": 191, "poison": "22012"}}]'), '{"items": [{"types": ["Never"]}]}')).position > 0 AS of_no_stream;
SELECT pour('{d-1,d-2,d-3}', 192, 197);
SELECT evstore.wait_for('parks');
TABLE state;
SELECT stream, count(*), min(version), max(version) FROM applied GROUP BY stream ORDER BY stream;
SELECT stream, parked, sqlstate, message, count(*), min(version), max(version) FROM evstore.skipped_events GROUP BY 1, 2, 3, 4 ORDER BY 1, 3;
-- A replay that fails changes nothing, and says where it did.
DO $$
DECLARE
	context text;
BEGIN
	PERFORM evstore.replay_parked('parks', 'd-3');
EXCEPTION WHEN raise_exception THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	RAISE NOTICE '% (%)', SQLERRM, (SELECT regexp_replace(line, 'position \d+', 'position N') FROM regexp_split_to_table(context, '\n') line WHERE line ~ '^parked');
END $$;
TABLE state;
-- Mended, the events of a stream are applied in order, and so are those that come later.
INSERT INTO mended VALUES ('P0001');
BEGIN;
SELECT evstore.replay_parked('parks', 'd-3');
ROLLBACK;
TABLE state;
SELECT evstore.replay_parked('parks', 'd-3');
TABLE state;
SELECT pour('{d-1,d-2,d-3}', 198, 203);
SELECT evstore.wait_for('parks');
SELECT evstore.replay_parked('parks', 'd-3'), evstore.replay_parked('parks', 'd-1'), evstore.replay_parked('parks', 'no-such');
SELECT pour('{d-1,d-2,d-3}', 204, 206);
SELECT evstore.wait_for('parks');
TABLE state;
SELECT stream, count(*), min(version), max(version) FROM applied GROUP BY stream ORDER BY stream;
SELECT each_once, in_order FROM outcome;
-- What was parked under one policy stays parked under another.
TRUNCATE mended;
SELECT pour('{d-1,d-2}', 207, 212, '{208}');
CALL until($$parked_streams = 1 FROM evstore.projections$$);
SELECT evstore.set_projection('parks', on_error => 'stop');
SELECT pour('{d-1,d-2}', 213, 216);
SELECT evstore.wait_for('parks');
SELECT stream, parked, count(*) FROM evstore.skipped_events WHERE stream IS NOT NULL GROUP BY 1, 2 ORDER BY 1;
SELECT evstore.drop_projection('parks');
SELECT (SELECT count(*) FROM evstore._skipped) AS skipped, (SELECT count(*) FROM evstore._parked) AS parked;
TRUNCATE mended, applied;

-- Parked events of a query projection.
SELECT evstore.create_projection('sums', on_error => 'park', retries => 0, query => $$
	SELECT stream, sum((data->>'amount')::numeric) AS amount, evstore.last(data->>'amount', position) AS last
	FROM events WHERE type = 'Spent' GROUP BY stream $$);
SELECT version FROM evstore.append('e-1', 'Spent', '{"amount": "1"}');
SELECT version FROM evstore.append('e-1', 'Spent', '{"amount": "2 and a half"}');
SELECT version FROM evstore.append('e-2', 'Spent', '{"amount": "4"}');
SELECT version FROM evstore.append('e-1', 'Spent', '{"amount": "8"}');
SELECT evstore.wait_for('sums');
SELECT stream, amount, last FROM sums ORDER BY stream;
SELECT version, parked, sqlstate, message FROM evstore.skipped_events WHERE projection = 'sums' ORDER BY position;
-- A restore brings the streams after the checkpoint that counts them: until then, none is taken for free.
CREATE TABLE kept AS TABLE evstore._parked;
DELETE FROM evstore._parked;
SELECT version FROM evstore.append('e-1', 'Spent', '{"amount": "16"}');
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, last_error FROM evstore.projections;
INSERT INTO evstore._parked TABLE kept;
SELECT evstore.retry_projection('sums');
SELECT evstore.wait_for('sums');
SELECT stream, amount, last FROM sums ORDER BY stream;
SELECT state, last_error, skipped_events, parked_streams FROM evstore.projections;
SELECT evstore.drop_projection('sums');

-- A handler that appends does so once, to the event table of its declaration, also in a replay.
SELECT evstore.create_event_table('others');
CREATE FUNCTION forward(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.append('forwarded-1', 'Forwarded', jsonb_build_object('of', e.version));
	PERFORM take(e);
END $$;
SELECT evstore.create_projection('forwards', handlers => '{"Sent": "forward"}', on_error => 'park', retries => 0);
SELECT version FROM evstore.append('f-0', evstore.events('[{"type": "Sent", "data": {"poison": "U0007"}}, {"type": "Sent", "data": {}}]'));
SELECT evstore.wait_for('forwards');
SELECT skipped_events, (SELECT count(*) FROM events WHERE type = 'Forwarded') AS forwarded FROM evstore.projections WHERE name = 'forwards';
INSERT INTO mended VALUES ('U0007');
SET evstore.event_table = 'others';
SELECT evstore.replay_parked('forwards', 'f-0');
RESET evstore.event_table;
SELECT data FROM events WHERE type = 'Forwarded' ORDER BY position;
SELECT count(*) FROM others;
SELECT evstore.drop_projection('forwards');
TRUNCATE mended, applied;

-- Whose fault it is, by SQLSTATE: one event with each, which is skipped, or never is.
SELECT evstore.create_projection('judge', handlers => '{"Poured": "take"}', on_error => 'skip', retries => 0);
CALL until($$skipped_events = (SELECT count(*) FROM events WHERE data ? 'poison' AND type = 'Poured') FROM evstore.projections$$);
CREATE TABLE verdict (code text, whose text);
CREATE PROCEDURE judge(code text) LANGUAGE plpgsql AS
$$
DECLARE
	skipped bigint;
BEGIN
	SELECT skipped_events INTO skipped FROM evstore.projections;
	COMMIT;
	PERFORM evstore.append('f-' || code, 'Poured', jsonb_build_object('poison', code));
	COMMIT;
	CALL until(format('failures > 0 AND failed_position IS NULL OR skipped_events > %s FROM evstore.projections', skipped));
	INSERT INTO verdict SELECT code, CASE WHEN skipped_events > skipped THEN 'the event' ELSE 'nobody' END FROM evstore.projections;
	INSERT INTO mended VALUES (code);
	PERFORM evstore.retry_projection('judge');
	COMMIT;
	PERFORM evstore.wait_for('judge');
	COMMIT;
END
$$;
DO $$
DECLARE
	code text;
BEGIN
	FOREACH code IN ARRAY ARRAY['08006', '0A000', '2200H', '25006', '2BP01', '3D000', '3F000', '40001', '40P01', '42501', '42601', '42703',
		'42804', '42883', '42P01', '42P10', '53100', '53200', '53300', '53400', '55000', '55006', '55P03', '57014', '57P05', '58030',
		'72000', 'F0000', 'HV000', 'VE001', 'VE004', 'VE005', 'XX001', 'XX002',
		'20000', '21000', '22003', '22012', '22P02', '23502', '23503', '23505', '23514', '23P01', '2F005', '38000', '44000', '54000', '54001',
		'P0001', 'P0002', 'P0004', 'VE002', 'VE003', '45000', 'U0001']
	LOOP
		CALL judge(code);
	END LOOP;
END $$;
SELECT whose, string_agg(code, ' ' ORDER BY code) AS codes FROM verdict GROUP BY whose ORDER BY whose;
SELECT state, failures, skipped_events = (SELECT count(*) FROM events WHERE data ? 'poison' AND type = 'Poured' AND stream LIKE 'f-%' IS NOT TRUE) + (SELECT count(*) FROM verdict WHERE whose = 'the event') AS skipped
FROM evstore.projections;
SELECT evstore.drop_projection('judge');
TRUNCATE mended, applied;


-- What fails without the event, too, is not the event's fault: here a trigger once a statement.
CREATE TABLE noted ("position" bigint, version bigint);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'closed today'; END$$;
CREATE TRIGGER closed BEFORE INSERT ON noted FOR EACH STATEMENT EXECUTE FUNCTION refuse();
SELECT evstore.create_projection('notes', on_error => 'skip', retries => 0, statement =>
	'INSERT INTO noted ("position", version) SELECT "position", version FROM new_events');
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, failed_position, split_part(last_error, E'\n', 1) AS last_error, skipped_events FROM evstore.projections;
DROP TRIGGER closed ON noted;
SELECT evstore.retry_projection('notes');
SELECT evstore.wait_for('notes');
SELECT skipped_events, (SELECT count(*) FROM noted) = (SELECT count(*) FROM events) AS all_there FROM evstore.projections;
-- Nor is what is so for one event after another: only so many in a row are given up.
ALTER TABLE noted ADD CONSTRAINT none CHECK (version < 0) NOT VALID;
SELECT pour('{g-1}', 1, 23);
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, split_part(last_error, E'\n', 1) AS last_error, skipped_events FROM evstore.projections;
SELECT evstore.retry_projection('notes');
CALL until($$failures > 0 AND skipped_events > 10 FROM evstore.projections$$);
SELECT state, skipped_events FROM evstore.projections;
ALTER TABLE noted DROP CONSTRAINT none;
SELECT evstore.retry_projection('notes');
SELECT evstore.wait_for('notes');
SELECT state, skipped_events FROM evstore.projections;
SELECT (SELECT count(*) FROM events) - count(*) AS missing FROM noted;
-- With others in between that are applied, any number is.
ALTER TABLE noted ADD CONSTRAINT even CHECK (version % 2 = 0) NOT VALID;
SELECT pour('{g-1}', 24, 63);
SELECT evstore.wait_for('notes');
SELECT state, skipped_events FROM evstore.projections;
ALTER TABLE noted DROP CONSTRAINT even;

-- What fails for several events at once, and for none of them alone, goes through in parts.
CREATE TABLE newest (stream text PRIMARY KEY, version bigint);
SELECT evstore.create_projection('news', on_error => 'skip', retries => 0, statement => $$
	INSERT INTO newest SELECT stream, version FROM new_events WHERE stream LIKE 'g-%'
	ON CONFLICT (stream) DO UPDATE SET version = greatest(newest.version, excluded.version) $$);
SELECT evstore.wait_for('news');
SELECT state, failures, skipped_events FROM evstore.projections WHERE name = 'news';
TABLE newest;
SELECT evstore.drop_projection('news');

-- Tables that are renamed or changed: nothing is skipped, and it goes on by itself when they are back.
ALTER TABLE noted RENAME TO elsewhere;
SELECT pour('{g-2}', 1, 5);
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, failed_position, split_part(last_error, E'\n', 1) AS last_error, skipped_events FROM evstore.projections;
ALTER TABLE elsewhere RENAME TO noted;
SELECT evstore.wait_for('notes', timeout => '2 minutes');
ALTER TABLE noted RENAME COLUMN "position" TO place;
ALTER TABLE noted ADD COLUMN "position" date;
SELECT pour('{g-2}', 6, 10);
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, failed_position, split_part(last_error, E'\n', 1) AS last_error, skipped_events FROM evstore.projections;
ALTER TABLE noted DROP COLUMN "position";
ALTER TABLE noted RENAME COLUMN place TO "position";
SELECT evstore.retry_projection('notes');
SELECT evstore.wait_for('notes');
SELECT state, last_error, skipped_events, (SELECT count(*) FROM events) - (SELECT count(*) FROM noted) AS missing FROM evstore.projections;
SELECT evstore.drop_projection('notes');

-- Functions that go, and rights that are taken away.
GRANT INSERT, SELECT ON applied, mended TO regress_failure_owner;
INSERT INTO mended SELECT DISTINCT data->>'poison' FROM events WHERE data ? 'poison';
SET ROLE regress_failure_owner;
SELECT evstore.create_projection('owned', handler => 'take', on_error => 'skip', retries => 0);
SELECT evstore.wait_for('owned');
RESET ROLE;
REVOKE SELECT ON events FROM regress_failure_owner;
SELECT pour('{g-3}', 1, 5);
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, failed_position, split_part(last_error, E'\n', 1) AS last_error, skipped_events FROM evstore.projections;
GRANT SELECT ON events TO regress_failure_owner;
REVOKE INSERT ON applied FROM regress_failure_owner;
SELECT evstore.retry_projection('owned');
CALL until($$last_error LIKE '%applied%' FROM evstore.projections$$);
SELECT state, failed_position, split_part(last_error, E'\n', 1) AS last_error, skipped_events FROM evstore.projections;
GRANT INSERT ON applied TO regress_failure_owner;
REVOKE EXECUTE ON FUNCTION take FROM PUBLIC;
SELECT evstore.retry_projection('owned');
CALL until($$last_error LIKE '%take%' FROM evstore.projections$$);
SELECT state, failed_position, split_part(last_error, E'\n', 1) AS last_error, skipped_events FROM evstore.projections;
GRANT EXECUTE ON FUNCTION take TO PUBLIC;
ALTER TABLE mended RENAME TO healed;
SELECT evstore.retry_projection('owned');
CALL until($$last_error LIKE '%mended%' FROM evstore.projections$$);
SELECT state, failed_position, split_part(last_error, E'\n', 1) AS last_error, skipped_events FROM evstore.projections;
ALTER TABLE healed RENAME TO mended;
SELECT evstore.retry_projection('owned');
SELECT evstore.wait_for('owned');
SELECT state, last_error, skipped_events, outcome.* FROM evstore.projections, outcome;
-- The owner may steer it, and so may a member.
CREATE ROLE regress_failure_member IN ROLE regress_failure_owner;
SET ROLE regress_failure_member;
SELECT evstore.set_projection('owned', 17, 'park', 3, '2.5 seconds', -4);
SELECT batch_size, on_error, retries, timeout, priority FROM evstore.projections;
SELECT evstore.set_projection('owned', timeout => '0', priority => 9);
SELECT evstore.set_projection('owned');
SELECT evstore.set_projection(NULL, 1), evstore.retry_projection(NULL), evstore.replay_parked('owned', NULL);
SELECT batch_size, on_error, retries, timeout, priority FROM evstore.projections;
SELECT evstore.retry_projection('owned');
RESET ROLE;
-- An owner that is gone leaves it to superusers.
ALTER TABLE mended OWNER TO regress_failure_owner;
REASSIGN OWNED BY regress_failure_owner TO CURRENT_USER;
DROP OWNED BY regress_failure_owner;
DROP ROLE regress_failure_member, regress_failure_owner;
SELECT pour('{g-3}', 6, 10);
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, regexp_replace(last_error, '\d+ was', 'N was') AS last_error, skipped_events FROM evstore.projections;
SELECT evstore.set_projection('owned', on_error => 'stop');
SELECT evstore.pause_projection('owned');
SELECT state FROM evstore.projections;
SELECT evstore.drop_projection('owned');
TRUNCATE applied;

-- The size of a batch can be changed at any time.
CREATE TABLE batch (events bigint);
SELECT evstore.create_projection('sizes', statement => 'INSERT INTO batch SELECT count(*) FROM new_events');
SELECT evstore.wait_for('sizes');
SELECT count(*) AS batches, sum(events) = (SELECT count(*) FROM events) AS all_there FROM batch;
SELECT evstore.pause_projection('sizes');
SELECT pour('{h-1}', 1, 12);
TRUNCATE batch;
SELECT evstore.set_projection('sizes', batch_size => 5);
SELECT evstore.resume_projection('sizes');
SELECT evstore.wait_for('sizes');
TABLE batch;
SELECT evstore.drop_projection('sizes');

-- A batch that takes too long is cut, and no event is blamed for it.
CREATE FUNCTION dawdle(e evstore.event) RETURNS void LANGUAGE sql AS
	$$SELECT pg_sleep(0.02) WHERE e.stream = 'i-1'; INSERT INTO applied ("position", stream, version) VALUES (e.position, e.stream, e.version)$$;
SELECT pour('{i-1}', 1, 30);
SELECT evstore.create_projection('slow', handler => 'dawdle', on_error => 'skip', retries => 0, timeout => '300 milliseconds');
SELECT evstore.wait_for('slow', timeout => '1 minute');
SELECT state, skipped_events, outcome.* FROM evstore.projections, outcome;
-- What waits for a lock takes too long with any event.
SELECT pg_advisory_lock(23);
CREATE OR REPLACE FUNCTION dawdle(e evstore.event) RETURNS void LANGUAGE sql AS
	$$SELECT pg_advisory_xact_lock(23); INSERT INTO applied ("position", stream, version) VALUES (e.position, e.stream, e.version)$$;
SELECT pour('{i-1}', 31, 40);
SELECT evstore.set_projection('slow', timeout => '30 milliseconds');
CALL until($$failures > 0 FROM evstore.projections$$);
SELECT state, failed_position, regexp_replace(split_part(last_error, E'\nCONTEXT', 1), '\d+', 'N', 'g') AS last_error, skipped_events FROM evstore.projections;
SELECT pg_advisory_unlock(23);
SELECT evstore.set_projection('slow', timeout => '0');
SELECT evstore.retry_projection('slow');
SELECT evstore.wait_for('slow');
SELECT state, last_error, timeout, skipped_events, outcome.* FROM evstore.projections, outcome;
SELECT evstore.drop_projection('slow');

-- Refused.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT evstore.create_projection('x', handler => 'take', on_error => 'explode');
SELECT evstore.create_projection('x', handler => 'take', on_error => 'STOP');
SELECT evstore.create_projection('x', handler => 'take', retries => -1);
SELECT evstore.create_projection('x', handler => 'take', timeout => '-1 second');
SELECT evstore.create_projection('x', handler => 'take', timeout => '1 year');
SELECT evstore.create_projection('x', handler => 'take', batch_size => 0);
SELECT evstore.create_projection('x', handler => 'take', on_error => NULL, retries => NULL, timeout => NULL, priority => NULL);
SELECT on_error, retries, timeout, priority FROM evstore.projections;
SELECT evstore.set_projection('x', batch_size => 0);
SELECT evstore.set_projection('x', on_error => '');
SELECT evstore.set_projection('x', retries => -1);
SELECT evstore.set_projection('x', timeout => '-1 millisecond');
SELECT evstore.set_projection('no such', retries => 1);
SELECT evstore.retry_projection('no such');
SELECT evstore.replay_parked('no such', 'a-1');
BEGIN READ ONLY;
SELECT evstore.set_projection('x', retries => 1);
ROLLBACK;
BEGIN READ ONLY;
SELECT evstore.retry_projection('x');
ROLLBACK;
BEGIN READ ONLY;
SELECT evstore.replay_parked('x', 'a-1');
ROLLBACK;
SELECT evstore.drop_projection('x');

SET evstore.maintenance = on;
DROP SCHEMA regress_projection_failure CASCADE;
DROP ROLE regress_failure_stranger, regress_failure_reader;
