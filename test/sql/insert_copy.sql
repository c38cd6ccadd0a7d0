-- Plain INSERT and COPY obey the rules of append: the trigger gives version and
-- position, and what breaks a rule is refused as a whole.

CREATE SCHEMA regress_insert_copy;
SET search_path = regress_insert_copy;
SELECT evstore.create_event_table();
-- the log as one reads it: positions by their order
CREATE VIEW log AS
	SELECT row_number() OVER (ORDER BY position) AS n, stream, version, type, data, metadata, id, tags, schema_version
	FROM events;

-- The three columns that an event must have.
INSERT INTO events (stream, type, data) VALUES ('order-1', 'OrderPlaced', '{"total": 10}');
INSERT INTO events (stream, type, data) VALUES
	('order-1', 'OrderPaid', '{}'), ('order-2', 'OrderPlaced', '{}'), ('order-1', 'OrderShipped', '{}');
TABLE log;
SELECT bool_and(recorded_at BETWEEN now() - interval '1 hour' AND clock_timestamp()) AS recorded_at FROM events;

-- The other columns are kept as given.
INSERT INTO events (stream, type, data, metadata, id, tags, schema_version)
VALUES ('order-3', 'OrderPlaced', 'null', '{"user": "ann"}', '00000000-0000-0000-0000-000000000003', '{a,b}', 7)
RETURNING stream, version, type, data, metadata, id, tags, schema_version;
INSERT INTO events (stream, type, data, schema_version, recorded_at, version, position)
VALUES ('order-3', 'OrderPaid', '{}', NULL, NULL, NULL, NULL)
RETURNING version, schema_version, recorded_at IS NOT NULL AS recorded_at;

-- In the rows' order, over several streams, from a query.
INSERT INTO events (stream, type, data)
	SELECT 'bulk-' || n % 3, 'Numbered', to_jsonb(n) FROM generate_series(1, 3000) n;
SELECT stream, count(*), min(version), max(version), bool_and((data::integer + 2) / 3 = version) AS versions_in_order
FROM events WHERE stream LIKE 'bulk-%' GROUP BY stream ORDER BY stream;
SELECT bool_and(data = to_jsonb(n)) AS positions_in_order
FROM (SELECT data, row_number() OVER (ORDER BY position) AS n FROM events WHERE stream LIKE 'bulk-%') b;

-- Beside append, in one transaction and in one statement.
BEGIN;
INSERT INTO events (stream, type, data) VALUES ('mixed-1', 'Inserted', '{}');
SELECT version FROM evstore.append('mixed-1', 'Appended', '{}', expected_version => 1);
INSERT INTO events (stream, type, data) VALUES ('mixed-1', 'Inserted', '{}');
SELECT version FROM evstore.append('mixed-1', 'Appended', '{}');
COMMIT;
WITH inserted AS (INSERT INTO events (stream, type, data) VALUES ('mixed-2', 'Inserted', '{}') RETURNING stream, version)
SELECT i.version AS inserted, a.version AS appended
FROM inserted i, LATERAL evstore.append(i.stream, 'Appended', '{}', expected_version => i.version) a;
INSERT INTO events (stream, type, data)
	SELECT 'mixed-2', 'After append ' || version, '{}' FROM evstore.append('mixed-2', 'Appended', '{}');
SELECT stream, version, type FROM log WHERE stream LIKE 'mixed-%' ORDER BY n;

-- A version that is given is an expectation.
INSERT INTO events (stream, version, type, data) VALUES ('version-1', 1, 'Step', '{}');
INSERT INTO events (stream, version, type, data) VALUES ('version-1', 2, 'Step', '{}'), ('version-1', 3, 'Step', '{}');
INSERT INTO events (stream, version, type, data) VALUES ('version-1', 3, 'Step', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, version, type, data) VALUES ('version-1', 5, 'Step', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, version, type, data) VALUES ('version-1', 4, 'Step', '{}'), ('version-1', 4, 'Step', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, version, type, data) VALUES ('version-2', 2, 'Step', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, version, type, data) VALUES ('version-2', 0, 'Step', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, version, type, data) VALUES ('version-2', -1, 'Step', '{}');
\echo :SQLSTATE
SELECT stream, version FROM log WHERE stream LIKE 'version-%' ORDER BY n;

-- A position is never given, nor a time.
INSERT INTO events (position, stream, type, data) VALUES (1, 'order-1', 'OrderPlaced', '{}');
\echo :SQLSTATE
INSERT INTO events (position, stream, type, data) VALUES (9223372036854775807, 'order-1', 'OrderPlaced', '{}');
\echo :SQLSTATE
INSERT INTO events (recorded_at, stream, type, data) VALUES (now(), 'order-1', 'OrderPlaced', '{}');
\echo :SQLSTATE

-- Each missing or empty column has its own error.
INSERT INTO events DEFAULT VALUES;
\echo :SQLSTATE
INSERT INTO events (type, data) VALUES ('OrderPlaced', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, type, data) VALUES ('', 'OrderPlaced', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, data) VALUES ('order-9', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, type, data) VALUES ('order-9', '', '{}');
\echo :SQLSTATE
INSERT INTO events (stream, type) VALUES ('order-9', 'OrderPlaced');
\echo :SQLSTATE
INSERT INTO events (stream, type, data) VALUES ('order-9', 'OrderPlaced', 'placed');
\echo :SQLSTATE
INSERT INTO events (stream, type, data) VALUES ('order-9', 'OrderPlaced', '{}'), ('order-9', NULL, '{}');
\echo :SQLSTATE
INSERT INTO events (stream, type, data, id) VALUES ('order-9', 'OrderPlaced', '{}', '00000000-0000-0000-0000-000000000003');
\echo :SQLSTATE
BEGIN READ ONLY;
INSERT INTO events (stream, type, data) VALUES ('order-9', 'OrderPlaced', '{}');
\echo :SQLSTATE
ROLLBACK;
SELECT count(*) FROM events WHERE stream = 'order-9';

-- ON CONFLICT DO NOTHING passes over a known id and leaves no hole in the stream.
INSERT INTO events (stream, type, data, id) VALUES
	('retry-1', 'Step', '1', '00000000-0000-0000-0000-000000000011'),
	('retry-1', 'Step', '2', '00000000-0000-0000-0000-000000000012');
INSERT INTO events (stream, type, data, id) VALUES
	('retry-1', 'Step', '1', '00000000-0000-0000-0000-000000000011'),
	('retry-1', 'Step', '3', '00000000-0000-0000-0000-000000000013'),
	('retry-1', 'Step', '2', '00000000-0000-0000-0000-000000000012'),
	('retry-1', 'Step', '3', '00000000-0000-0000-0000-000000000013'),
	('retry-1', 'Step', '4', '00000000-0000-0000-0000-000000000014')
ON CONFLICT DO NOTHING
RETURNING version, data;
INSERT INTO events (stream, type, data, id) VALUES
	('retry-1', 'Step', '4', '00000000-0000-0000-0000-000000000014'),
	('retry-1', 'Step', '5', '00000000-0000-0000-0000-000000000015')
ON CONFLICT (id) WHERE id IS NOT NULL DO NOTHING
RETURNING version, data;
-- a wrong version stays an error
INSERT INTO events (stream, version, type, data) VALUES ('retry-1', 5, 'Step', '{}') ON CONFLICT DO NOTHING;
\echo :SQLSTATE
INSERT INTO events (stream, version, type, data) VALUES ('retry-1', 5, 'Step', '{}') ON CONFLICT (stream, version) DO NOTHING;
\echo :SQLSTATE
SELECT version, data, right(id::text, 2) AS id FROM log WHERE stream = 'retry-1' ORDER BY n;

-- COPY, in text and CSV, with some columns or many.
COPY events (stream, type, data) FROM stdin;
copy-1	Copied	{"n": 1}
copy-1	Copied	{"n": 2}
copy-2	Copied	{"n": 3}
\.
COPY events (stream, type, data, metadata, id, tags) FROM stdin (FORMAT csv);
copy-1,Copied,"{""n"": 4}",,00000000-0000-0000-0000-000000000021,"{a,b}"
copy-2,Copied,"{""n"": 5}","{""user"": ""bob""}",,
\.
COPY events (stream, version, type, data) FROM stdin;
copy-1	4	Copied	{"n": 6}
copy-2	3	Copied	{"n": 7}
\.
SELECT stream, version, data, metadata, right(id::text, 2) AS id, tags FROM log WHERE stream LIKE 'copy-%' ORDER BY n;
-- one bad line undoes all
COPY events (stream, type, data) FROM stdin;
copy-3	Copied	{"n": 8}
copy-3	Copied	n = 9
\.
COPY events (stream, type, data) FROM stdin;
copy-3	Copied	{"n": 8}
copy-3	\N	{"n": 9}
\.
COPY events (stream, type, data) FROM stdin;
copy-3	Copied	{"n": 8}
	Copied	{"n": 9}
\.
COPY events (stream, version, type, data) FROM stdin;
copy-3	1	Copied	{"n": 8}
copy-3	3	Copied	{"n": 9}
\.
COPY events (position, stream, type, data) FROM stdin;
1	copy-3	Copied	{"n": 8}
\.
SELECT count(*) FROM events WHERE stream = 'copy-3';
-- what COPY wrote, append goes on from
SELECT version FROM evstore.append('copy-1', 'Appended', '{}', expected_version => 4);

-- An INSERT keeps the lock of its stream to the end of the transaction: once, however many
-- rows there are; anew, where it was taken in what was rolled back; one for each table.
SELECT evstore.create_event_table('beside');
CREATE VIEW stripes AS
	SELECT relation::regclass, mode, count(*)
	FROM (SELECT objid, mode, classid AS relation FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 229 AND pid = pg_backend_pid()) l
	GROUP BY relation::regclass::text COLLATE "C", relation, mode ORDER BY relation::regclass::text COLLATE "C", mode COLLATE "C";
BEGIN;
INSERT INTO events (stream, type, data) SELECT 'kept-1', 'Step', '{}' FROM generate_series(1, 3);
TABLE stripes;
INSERT INTO beside (stream, type, data) VALUES ('kept-1', 'Step', '{}');
INSERT INTO events (stream, type, data) VALUES ('kept-1', 'Step', '{}'), ('kept-2', 'Step', '{}');
INSERT INTO beside (stream, type, data) VALUES ('kept-1', 'Step', '{}');
TABLE stripes;
COMMIT;
BEGIN;
SAVEPOINT s;
INSERT INTO events (stream, type, data) VALUES ('kept-1', 'Step', '{}');
ROLLBACK TO s;
TABLE stripes;
INSERT INTO events (stream, type, data) VALUES ('kept-1', 'Step', '{}');
TABLE stripes;
-- what append() lets go of stays, if an INSERT keeps it
SELECT version FROM evstore.append('kept-1', 'Step', '{}');
TABLE stripes;
ROLLBACK;
BEGIN;
INSERT INTO events (stream, type, data) VALUES ('kept-1', 'Step', '{}');
TABLE stripes;
ROLLBACK;

-- What one table holds, another takes in, versions included.
SELECT evstore.create_event_table('copied');
INSERT INTO copied (stream, version, type, data, metadata, id, tags, schema_version)
	SELECT stream, version, type, data, metadata, id, tags, schema_version FROM events ORDER BY position;
CREATE VIEW copied_log AS
	SELECT row_number() OVER (ORDER BY position) AS n, stream, version, type, data, metadata, id, tags, schema_version
	FROM copied;
SELECT (SELECT count(*) FROM log) = (SELECT count(*) FROM copied_log) AS same_count,
	(SELECT count(*) FROM (TABLE log EXCEPT TABLE copied_log) d) AS differing;

-- Through a view, a prepared statement, a function and MERGE.
CREATE VIEW shipments AS SELECT stream, type, data FROM events WHERE type = 'OrderShipped';
INSERT INTO shipments VALUES ('order-2', 'OrderShipped', '{"via": "view"}');
PREPARE ship AS INSERT INTO events (stream, type, data) VALUES ($1, 'OrderShipped', $2) RETURNING version;
EXECUTE ship ('order-2', '{"via": "prepared"}');
DO $$ BEGIN INSERT INTO events (stream, type, data) VALUES ('order-2', 'OrderShipped', '{"via": "function"}'); END $$;
MERGE INTO events e USING (VALUES ('order-2'), ('order-8')) s (stream) ON e.stream = s.stream
	WHEN NOT MATCHED THEN INSERT (stream, type, data) VALUES (s.stream, 'OrderShipped', '{"via": "merge"}');
SELECT stream, version, data FROM log WHERE type = 'OrderShipped' AND data <> '{}' ORDER BY n;

-- Triggers that an event table may have: after the row, after the statement.
CREATE TABLE seen (stream text, version bigint);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO seen VALUES (NEW.stream, NEW.version); RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION see();
INSERT INTO events (stream, type, data) VALUES ('seen-1', 'Step', '{}'), ('seen-1', 'Step', '{}');
COPY events (stream, type, data) FROM stdin;
seen-1	Step	{}
\.
SELECT * FROM seen;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_insert_copy CASCADE;
