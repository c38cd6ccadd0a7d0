-- Events that come with their positions: a restore. Only the owner may, only
-- beyond what was handed out or into an empty table, and the rows are kept as
-- they are. Afterwards positions go on above.

CREATE SCHEMA regress_restore;
CREATE ROLE regress_restorer;
CREATE ROLE regress_restore_writer;
GRANT ALL ON SCHEMA regress_restore TO regress_restorer;
GRANT USAGE ON SCHEMA regress_restore TO regress_restore_writer;
SET ROLE regress_restorer;
SET search_path = regress_restore;
SELECT evstore.create_event_table();
GRANT INSERT, SELECT ON events TO regress_restore_writer;
SELECT "position" AS base FROM evstore.append('order-1', 'OrderPlaced', '{"total": 1}') \gset

-- positions relative to the first event
CREATE VIEW log AS
	SELECT position - first_value(position) OVER (ORDER BY version) AS n, stream, version, recorded_at, schema_version, type, data, metadata, id, tags
	FROM events;

-- Beyond what was handed out, in any order; kept as they are.
INSERT INTO events (position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags) VALUES
	(:base + 5000, 3, '2001-02-03 04:05:06+00', 7, NULL, 'order-1', 'OrderShipped', '{}', NULL, NULL),
	(:base + 4000, 2, '2001-01-01 00:00:00+00', 6, '00000000-0000-0000-0000-000000000002', 'order-1', 'OrderPaid', '[1]', '{"by": "me"}', '{a,b}'),
	(:base + 4500, 1, '2001-01-02 00:00:00+00', 1, NULL, 'order-2', 'OrderPlaced', '2', NULL, '{}');
SET TIME ZONE 'UTC';
SELECT n, stream, version, schema_version, type, data, metadata, right(id::text, 2) AS id, tags FROM log ORDER BY n;
SELECT n, recorded_at FROM log WHERE n > 0 ORDER BY n;
-- versions and positions go on
SELECT version, position > :base + 5000 AS above FROM evstore.append('order-1', 'OrderClosed', '{}', expected_version => 3);
SELECT stream, version, position > :base AS readable FROM evstore.read_events(:base - 1) ORDER BY position;

-- What was handed out is not free, to whomever it went, nor what was passed over.
\set columns '(position, version, recorded_at, schema_version, stream, type, data)'
\set VERBOSITY sqlstate
INSERT INTO events :columns VALUES (:base, 1, now(), 1, 'other-1', 'Step', '{}');
INSERT INTO events :columns VALUES (:base + 4999, 1, now(), 1, 'other-1', 'Step', '{}');
\set VERBOSITY default
-- nor is one that was given twice, wherever it came from
SELECT max(position) AS last FROM events \gset
\set VERBOSITY terse
INSERT INTO events :columns VALUES
	(:last + 3000, 1, now(), 1, 'twice-1', 'Step', '{}'), (:last + 3000, 2, now(), 1, 'twice-1', 'Step', '{}');
\set VERBOSITY default
\echo :SQLSTATE

-- Into a table that was empty when its first event came: anywhere.
SELECT evstore.create_event_table('moved');
SELECT setseed(0.5);
BEGIN;
INSERT INTO moved SELECT * FROM events ORDER BY random();
INSERT INTO moved :columns VALUES (:base + 1, 9, now(), 1, 'order-1', 'Step', '{}');
COMMIT;
SELECT count(*) FROM (TABLE moved EXCEPT TABLE events) d;
SELECT count(*) FROM (TABLE events EXCEPT TABLE moved) d;
-- it was empty then, and is not now
\set VERBOSITY sqlstate
INSERT INTO moved :columns VALUES (:base + 2, 10, now(), 1, 'order-1', 'Step', '{}');
\set VERBOSITY default
SELECT version, position > (SELECT max(position) FROM events) AS above
FROM evstore.append('order-1', 'Step', '{}', event_table => 'moved');
-- an event of the same transaction's counts
SELECT evstore.create_event_table('not_empty');
BEGIN;
SELECT version FROM evstore.append('a', 'Step', '{}', event_table => 'not_empty');
\set VERBOSITY sqlstate
INSERT INTO not_empty :columns VALUES (1, 1, now(), 1, 'b', 'Step', '{}');
\set VERBOSITY default
ROLLBACK;

-- Restored and appended in turn, in one transaction.
BEGIN;
SELECT position AS first FROM evstore.append('turn-1', 'Step', '1') \gset
INSERT INTO events :columns VALUES (:first + 2000, 2, now(), 1, 'turn-1', 'Step', '2');
SELECT position AS third FROM evstore.append('turn-1', 'Step', '3') \gset
SELECT :third > :first + 2000 AS above;
\set VERBOSITY sqlstate
SAVEPOINT below;
INSERT INTO events :columns VALUES (:third - 1, 1, now(), 1, 'turn-2', 'Step', '0');
ROLLBACK TO below;
\set VERBOSITY default
INSERT INTO events :columns VALUES (:third + 10, 4, now(), 1, 'turn-1', 'Step', '4');
INSERT INTO events (stream, type, data) VALUES ('turn-1', 'Step', '5');
COMMIT;
SELECT version, data, position > lag(position) OVER (ORDER BY version) AS above FROM events WHERE stream = 'turn-1' ORDER BY version;

-- A savepoint takes it back, and the positions of the rest count.
BEGIN;
INSERT INTO events :columns SELECT max(position) + 100, 1, now(), 1, 'kept-1', 'Step', '{}' FROM events;
SAVEPOINT one;
INSERT INTO events :columns SELECT max(position) + 100, 2, now(), 1, 'kept-1', 'Step', '{}' FROM events;
SAVEPOINT two;
INSERT INTO events :columns SELECT max(position) + 100, 3, now(), 1, 'kept-1', 'Step', '{}' FROM events;
RELEASE two;
ROLLBACK TO one;
INSERT INTO events :columns SELECT max(position) + 50, 2, now(), 1, 'kept-1', 'Step', '{}' FROM events;
COMMIT;
BEGIN;
SAVEPOINT one;
INSERT INTO events :columns SELECT max(position) + 10000, 3, now(), 1, 'kept-1', 'Step', '{}' FROM events;
ROLLBACK TO one;
SELECT version FROM evstore.append('kept-1', 'Step', '{}');
INSERT INTO events :columns SELECT max(position) + 10000, 4, now(), 1, 'kept-1', 'Step', '{}' FROM events;
COMMIT;
SELECT version, position - lag(position) OVER (ORDER BY version) > 0 AS above FROM events WHERE stream = 'kept-1' ORDER BY version;
SELECT version, position > (SELECT max(position) FROM events) AS above FROM evstore.append('kept-1', 'Step', '{}');

-- Rolled back, the safe position goes on all the same.
BEGIN;
INSERT INTO events :columns SELECT max(position) + 5000, 9, now(), 1, 'gone-1', 'Step', '{}' FROM events;
SELECT count(*) FROM evstore.appenders WHERE pid = pg_backend_pid();
ROLLBACK;
SELECT position AS last FROM evstore.append('after-1', 'Step', '{}') \gset
SELECT max(position) = :last AS reached FROM evstore.read_events();

-- COPY, as pg_dump writes it.
SELECT evstore.create_event_table('copied');
COPY copied (position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags) FROM stdin;
7	2	2001-02-03 04:05:06+00	1	\N	copy-1	Copied	{"n": 2}	\N	\N
6	1	2001-02-03 04:05:05+00	1	\N	copy-1	Copied	{"n": 1}	\N	{a}
\.
SELECT position, version, recorded_at, data, tags FROM copied ORDER BY position;

-- A row that cannot have been an event.
\set VERBOSITY terse
INSERT INTO copied :columns VALUES (0, 1, now(), 1, 'a', 'Step', '{}');
INSERT INTO copied :columns VALUES (-5, 1, now(), 1, 'a', 'Step', '{}');
\echo :SQLSTATE
\set VERBOSITY default
INSERT INTO copied :columns VALUES (:last + 100, 1, NULL, 1, 'a', 'Step', '{}');
\echo :SQLSTATE
\set VERBOSITY terse
INSERT INTO copied :columns VALUES (:last + 100, 1, now(), NULL, 'a', 'Step', '{}');
INSERT INTO copied :columns VALUES (:last + 100, NULL, now(), 1, 'a', 'Step', '{}');
INSERT INTO copied :columns VALUES (:last + 100, 1, now(), 1, NULL, 'Step', '{}');
INSERT INTO copied :columns VALUES (:last + 100, 0, now(), 1, 'a', 'Step', '{}');
\echo :SQLSTATE
INSERT INTO copied :columns VALUES (:last + 100, 1, now(), 1, 'a', NULL, '{}');
INSERT INTO copied :columns VALUES (:last + 100, 1, now(), 1, 'a', 'Step', NULL);
INSERT INTO copied :columns VALUES (:last + 100, 1, now(), 1, '', 'Step', '{}');
\set VERBOSITY default
-- a time alone makes no restored event
INSERT INTO copied (recorded_at, stream, type, data) VALUES (now(), 'a', 'Step', '{}');
\echo :SQLSTATE

-- What the sequence says needs no right of the restorer's, nor does moving it.
RESET ROLE;
REVOKE SELECT ON SEQUENCE evstore.position_sequence FROM PUBLIC;
SET ROLE regress_restorer;
INSERT INTO events :columns VALUES (:last + 50000, 1, now(), 1, 'no-right-1', 'Step', '{}');
RESET ROLE;
GRANT SELECT ON SEQUENCE evstore.position_sequence TO PUBLIC;
SET ROLE regress_restorer;

-- Who: the owner, and nobody else. And even the owner does not use up all positions at once.
\set VERBOSITY terse
INSERT INTO events :columns VALUES (9223372036854775807, 1, now(), 1, 'far-1', 'Step', '{}');
\set VERBOSITY default
\echo :SQLSTATE
SET ROLE regress_restore_writer;
INSERT INTO events :columns VALUES (:last + 100000, 1, now(), 1, 'far-1', 'Step', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, type, data) VALUES ('writer-1', 'Step', '{}') RETURNING version;
RESET ROLE;

-- append() gets where plain rows are refused: its own row, through SPI, is no restore.
SET search_path = regress_restore;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER nothing AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION nothing();
SET ROLE regress_restore_writer;
SELECT version FROM evstore.append('writer-1', 'Step', '{}');
RESET ROLE;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_restore CASCADE;
DROP ROLE regress_restorer;
DROP ROLE regress_restore_writer;
