-- COPY into an event table: what it takes and what it refuses, whether it is
-- evstore's own, for many rows at once, or the server's, by the trigger.

CREATE SCHEMA regress_copy;
SET search_path = regress_copy;
SELECT evstore.create_event_table();
CREATE VIEW log AS
	SELECT row_number() OVER (ORDER BY position) AS n, stream, version, type, data, metadata, id, tags, schema_version
	FROM events;
-- the locks that this session has taken for streams, and for types and tags
CREATE VIEW stripes AS
	SELECT count(*) FILTER (WHERE mode = 'ExclusiveLock') AS streams, count(*) FILTER (WHERE mode = 'RowExclusiveLock') AS others
	FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 229 AND pid = pg_backend_pid();
SELECT current_setting('data_directory') || '/regress_copy.data' AS file \gset

-- Many rows, over few streams and many: by our COPY, which lets go of streams, and by the server's.
CREATE TABLE source AS
	SELECT n, 'order-' || n % 7 AS stream, 'Step' || n % 3 AS type, jsonb_build_object('n', n) AS data,
		CASE WHEN n % 5 = 0 THEN ARRAY['even', 'n:' || n % 10] END AS tags, 1 + n % 2 AS schema_version
	FROM generate_series(1, 500) n;
INSERT INTO source SELECT n, 'single-' || n, 'Step', jsonb_build_object('n', n), NULL, 1 FROM generate_series(501, 1000) n;
COPY (SELECT stream, type, data, tags, schema_version FROM source ORDER BY n) TO :'file';
BEGIN;
COPY events (stream, type, data, tags, schema_version) FROM :'file';
SELECT streams, others > 0 AS others FROM stripes;
COMMIT;
SELECT bool_and((l.stream, l.type, l.data, l.tags, l.schema_version) IS NOT DISTINCT FROM (s.stream, s.type, s.data, s.tags, s.schema_version)) AS same, count(*)
FROM log l JOIN source s USING (n);
SELECT bool_and(version = rank) AS versions, count(DISTINCT position) AS positions, count(DISTINCT recorded_at) < 20 AS in_batches
FROM (SELECT *, row_number() OVER (PARTITION BY stream ORDER BY position) AS rank FROM events) e;
SELECT evstore.create_event_table('served');
BEGIN;
COPY served (stream, type, data, tags, schema_version) FROM :'file' WHERE true;
SELECT streams > 0 AS streams, others > 0 AS others FROM stripes;
COMMIT;
SELECT count(*) AS differing FROM (
	(SELECT stream, version, type, data, tags, schema_version FROM events EXCEPT SELECT stream, version, type, data, tags, schema_version FROM served)
	UNION ALL
	(SELECT stream, version, type, data, tags, schema_version FROM served EXCEPT SELECT stream, version, type, data, tags, schema_version FROM events)) d;
-- on top of what is there, and mixed with what is appended
BEGIN;
SELECT version FROM evstore.append('order-1', 'Appended', '{}');
COPY events (stream, type, data, tags, schema_version) FROM :'file';
SELECT version FROM evstore.append('order-1', 'Appended', '{}');
INSERT INTO events (stream, type, data) VALUES ('order-1', 'Inserted', '{}') RETURNING version;
COMMIT;
SELECT stream, count(*), max(version) FROM events WHERE stream LIKE 'order-%' GROUP BY stream ORDER BY stream;
SELECT bool_and(version = rank) AS versions
FROM (SELECT *, row_number() OVER (PARTITION BY stream ORDER BY position) AS rank FROM events) e;

-- More streams than a COPY remembers, with long names, each coming back later.
CREATE TABLE wide AS SELECT n, rpad('wide-' || n % 2500, 1000, 'x') AS stream FROM generate_series(1, 5000) n;
COPY (SELECT stream, 'Step', '{}' FROM wide ORDER BY n) TO :'file';
COPY events (stream, type, data) FROM :'file';
SELECT count(*), count(DISTINCT stream), min(version), max(version) FROM events WHERE stream LIKE 'wide-%';

-- Rows of megabytes.
COPY (SELECT 'big-1', 'Step', jsonb_build_object('n', n, 'fill', repeat('x', 3000000)) FROM generate_series(1, 5) n) TO :'file';
COPY events (stream, type, data) FROM :'file';
SELECT version, data->'n' AS n, length(data->>'fill') FROM events WHERE stream = 'big-1' ORDER BY position;

-- Binary.
COPY (SELECT 'binary-' || n % 2, 'Step', jsonb_build_object('n', n), ARRAY['a', 'b'] FROM generate_series(1, 100) n) TO :'file' (FORMAT binary);
COPY events (stream, type, data, tags) FROM :'file' (FORMAT binary);
SELECT stream, count(*), max(version), min(tags) FROM events WHERE stream LIKE 'binary-%' GROUP BY stream ORDER BY stream;

-- Every way to write the lines.
COPY events (data, type, stream) FROM stdin (DELIMITER '|', NULL 'none', HEADER);
data|type|stream
{"n": 1}|Step|form-1
\.
COPY events (stream, type, data, metadata, id) FROM stdin (FORMAT csv, QUOTE '$', ESCAPE '!', FORCE_NULL (metadata), FORCE_NOT_NULL (type), HEADER match);
stream,type,data,metadata,id
form-1,Step,${"n": 2}$,$$,00000000-0000-0000-0000-000000000001
$form-1$,$St!$ep$,3,$"m"$,
\.
COPY events (stream, type, data) FROM stdin (ENCODING 'latin1');
form-1	Café	4
\.
COPY events (stream, type, data) FROM stdin CSV DELIMITER ';';
form-1;Step;5
\.
SELECT version, octet_length(type) AS type, data, metadata, right(id::text, 1) AS id FROM log WHERE stream = 'form-1' ORDER BY n;
COPY events (stream, type, data) FROM PROGRAM 'echo "program-1 Step {}"' (DELIMITER ' ');
SELECT stream, version FROM log WHERE stream = 'program-1';

-- No rows.
COPY events (stream, type, data) FROM stdin;
\.
-- The command tells how many there were.
DO $$
DECLARE n bigint;
BEGIN
	EXECUTE 'COPY events (stream, type, data) FROM PROGRAM ''printf "counted-1 Step 1\ncounted-1 Step 2\n"'' (DELIMITER '' '')';
	GET DIAGNOSTICS n = ROW_COUNT;
	RAISE NOTICE '% rows', n;
END $$;

-- A version that is given is an expectation, in the first batch and in a later one.
COPY events (stream, version, type, data) FROM stdin;
version-1	1	Step	{}
version-1	\N	Step	{}
version-1	3	Step	{}
version-2	1	Step	{}
\.
COPY events (stream, version, type, data) FROM stdin;
version-2	2	Step	{}
version-1	3	Step	{}
\.
COPY events (stream, version, type, data) FROM stdin;
version-2	2	Step	{}
version-1	5	Step	{}
\.
COPY events (stream, version, type, data) FROM stdin;
version-3	0	Step	{}
\.
COPY (SELECT 'version-4', CASE WHEN n < 150 THEN n ELSE n + 1 END, 'Step', '{}' FROM generate_series(1, 200) n) TO :'file';
COPY events (stream, version, type, data) FROM :'file';
\echo :SQLSTATE
SELECT stream, version FROM log WHERE stream LIKE 'version-%' ORDER BY n;

-- Ids are unique: against what is stored, and among themselves.
COPY events (stream, type, data, id) FROM stdin;
id-1	Step	{}	00000000-0000-0000-0000-000000000002
id-1	Step	{}	00000000-0000-0000-0000-000000000001
\.
COPY events (stream, type, data, id) FROM stdin;
id-1	Step	{}	00000000-0000-0000-0000-000000000002
id-1	Step	{}	\N
id-1	Step	{}	00000000-0000-0000-0000-000000000002
\.
SELECT count(*) FROM log WHERE stream = 'id-1';

-- Lines that are no events, and columns that are not the caller's.
COPY events (stream, type, data) FROM stdin;
bad-1	Step	{}
bad-1	Step	{
\.
COPY events (stream, type, data) FROM stdin;
bad-1	Step
\.
COPY events (stream, type, data) FROM stdin;
bad-1	Step	{}	more
\.
COPY events (stream, type, data) FROM stdin;
bad-1	Step	{}
\N	Step	{}
\.
COPY events (stream, type, data) FROM stdin;
bad-1		{}
\.
COPY events (stream, type, data) FROM stdin;
bad-1	Step	\N
\.
COPY events (stream, type) FROM stdin;
bad-1	Step
\.
COPY events (stream, type, data, tags) FROM stdin;
bad-1	Step	{}	{a,NULL}
\.
COPY events (stream, type, data, id, version) FROM stdin;
bad-1	Step	{}	1	1
\.
COPY events (stream, type, data, recorded_at) FROM stdin;
bad-1	Step	{}	\N
bad-1	Step	{}	now
\.
COPY events (stream, type, data, nothing) FROM '/dev/null';
COPY events (stream, type, data, type) FROM '/dev/null';
COPY events (stream, type, data) FROM '/dev/null' (DELIMITER 'ab');
COPY events (stream, type, data) FROM '/dev/null' (FORMAT csv, FORCE_NULL (metadata));
COPY events (stream, type, data) FROM '/nowhere';
COPY nowhere (stream, type, data) FROM '/dev/null';
COPY log (stream, type, data) FROM '/dev/null';
BEGIN READ ONLY;
COPY events (stream, type, data) FROM '/dev/null';
ROLLBACK;
COPY events (stream, type, data) FROM stdin (FREEZE);
bad-1	Step	{}
\.
SELECT count(*) FROM events WHERE stream LIKE 'bad-%';

-- Part of the lines: the server's.
COPY events (stream, type, data) FROM stdin WHERE type <> 'Skip';
where-1	Step	1
where-1	Skip	2
where-1	Step	3
\.
SELECT version, data FROM log WHERE stream = 'where-1' ORDER BY n;

-- Savepoints.
BEGIN;
COPY events (stream, type, data) FROM stdin;
save-1	Step	1
\.
SAVEPOINT s;
COPY events (stream, type, data) FROM stdin;
save-1	Step	2
save-2	Step	2
\.
ROLLBACK TO s;
COPY events (stream, version, type, data) FROM stdin;
save-2	1	Step	3
save-1	2	Step	3
\.
SAVEPOINT s;
COPY events (stream, version, type, data) FROM stdin;
save-2	2	Step	4
save-2	2	Step	5
\.
ROLLBACK TO s;
COPY events (stream, version, type, data) FROM stdin;
save-2	2	Step	6
\.
COMMIT;
SELECT stream, version, data FROM log WHERE stream LIKE 'save-%' ORDER BY n;

-- Who may.
CREATE ROLE regress_copy_columns;
CREATE ROLE regress_copy_table;
GRANT USAGE ON SCHEMA regress_copy, evstore TO regress_copy_columns, regress_copy_table;
GRANT INSERT (stream, type, data) ON events TO regress_copy_columns;
GRANT INSERT ON events TO regress_copy_table;
GRANT pg_read_server_files TO regress_copy_columns;
SET ROLE regress_copy_columns;
COPY events (stream, type, data) FROM stdin;
role-1	Step	1
\.
COPY events (stream, type, data, metadata) FROM '/dev/null';
COPY served (stream, type, data) FROM '/dev/null';
SET ROLE regress_copy_table;
COPY events (stream, type, data, metadata) FROM stdin;
role-1	Step	2	{}
\.
\set VERBOSITY sqlstate
COPY events (stream, type, data) FROM '/nowhere';
COPY events (stream, type, data) FROM PROGRAM 'true';
RESET ROLE;
GRANT pg_read_server_files TO regress_copy_table;
COPY (SELECT 'role-1', 'Step', '3') TO :'file';
SET ROLE regress_copy_table;
COPY events (stream, type, data) FROM :'file';
COPY events (stream, type, data) FROM PROGRAM 'true';
\set VERBOSITY default
RESET ROLE;
SELECT version, data FROM log WHERE stream = 'role-1' ORDER BY n;

-- Row-level security binds whom it binds.
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_may ON events FOR INSERT TO regress_copy_table WITH CHECK (true);
COPY events (stream, type, data) FROM stdin;
policy-1	Step	1
\.
SET ROLE regress_copy_table;
COPY events (stream, type, data) FROM '/dev/null';
SET row_security = off;
COPY events (stream, type, data) FROM '/dev/null';
RESET row_security;
RESET ROLE;
ALTER TABLE events DISABLE ROW LEVEL SECURITY;

-- A column more, one of its default, a constraint, a trigger: each as the server does it.
ALTER TABLE events ADD COLUMN note text;
COPY events (stream, type, data) FROM stdin;
extra-1	Step	1
\.
COPY events (stream, type, data, note) FROM stdin;
extra-1	Step	2	noted
\.
ALTER TABLE events ALTER COLUMN note SET DEFAULT 'by default';
COPY events (stream, type, data) FROM stdin;
extra-1	Step	3
\.
ALTER TABLE events ALTER COLUMN note DROP DEFAULT;
ALTER TABLE events ADD CONSTRAINT no_four CHECK (data <> '"four"');
\set VERBOSITY terse
COPY events (stream, type, data) FROM stdin;
extra-1	Step	"four"
\.
\set VERBOSITY default
COPY events (stream, type, data) FROM stdin;
extra-1	Step	4
\.
ALTER TABLE events DROP CONSTRAINT no_four;
CREATE TABLE seen (stream text, version bigint);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO seen VALUES (NEW.stream, NEW.version); RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION see();
COPY events (stream, type, data) FROM stdin;
extra-1	Step	5
\.
DROP TRIGGER see ON events;
COPY events (stream, type, data) FROM stdin;
extra-1	Step	6
\.
SELECT version, data, note FROM events WHERE stream = 'extra-1' ORDER BY position;
TABLE seen;

-- An administrator who has turned the trigger off gets what he asked for.
SET evstore.maintenance = on;
ALTER TABLE events DISABLE TRIGGER evstore_insert;
COPY events (stream, type, data) FROM stdin;
off-1	Step	1
\.
ALTER TABLE events ENABLE ALWAYS TRIGGER evstore_insert;
RESET evstore.maintenance;
COPY events (stream, type, data) FROM stdin;
off-1	Step	1
\.
SELECT version FROM log WHERE stream = 'off-1';

SELECT 'rm ' || :'file' AS remove \gset
COPY (SELECT) TO PROGRAM :'remove';
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_copy CASCADE;
REVOKE USAGE ON SCHEMA evstore FROM regress_copy_columns, regress_copy_table;
DROP ROLE regress_copy_columns, regress_copy_table;
