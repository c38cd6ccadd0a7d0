-- Append-only: what no one may do to an event table, owner or superuser, and
-- what must go on working.

CREATE ROLE regress_append_only;
CREATE SCHEMA regress_append_only AUTHORIZATION regress_append_only;
SET search_path = regress_append_only;
SET ROLE regress_append_only;
SELECT evstore.create_event_table();
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}', id => '00000000-0000-0000-0000-000000000001');
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
CREATE TABLE outside (stream text, total numeric);
INSERT INTO outside VALUES ('order-1', 10), ('order-2', 20);

-- Run a command that must be refused; say so, and how. A command that runs is undone.
CREATE PROCEDURE refuse(commands text[]) LANGUAGE plpgsql AS
$$
DECLARE
	command text;
BEGIN
	FOREACH command IN ARRAY commands LOOP
		BEGIN
			EXECUTE command;
			RAISE EXCEPTION 'ALLOWED' USING ERRCODE = 'ZZ000';
		EXCEPTION WHEN OTHERS THEN
			RAISE INFO '% -> % %', command, SQLSTATE, SQLERRM;
		END;
	END LOOP;
END
$$;
-- only the procedure's own words, not where it stood
\set SHOW_CONTEXT never

-- One refusal in full.
UPDATE events SET data = '{}';
\echo :SQLSTATE

-- Changing and removing rows, in every form; also where no row would match.
CALL refuse(ARRAY[
	$$UPDATE events SET data = '{}'$$,
	$$UPDATE events SET metadata = NULL WHERE false$$,
	$$UPDATE ONLY events SET version = version + 1 WHERE stream = 'order-1'$$,
	$$UPDATE events e SET data = '{}' FROM outside o WHERE o.stream = e.stream$$,
	$$WITH changed AS (UPDATE events SET type = 'x' RETURNING *) SELECT * FROM changed$$,
	$$DELETE FROM events$$,
	$$DELETE FROM events WHERE false$$,
	$$DELETE FROM events e USING outside o WHERE o.stream = e.stream$$,
	$$WITH gone AS (DELETE FROM events RETURNING *) INSERT INTO outside SELECT stream FROM gone$$,
	$$TRUNCATE events$$,
	$$TRUNCATE ONLY events RESTART IDENTITY$$,
	$$TRUNCATE outside, events$$,
	$$TRUNCATE events CASCADE$$,
	$$MERGE INTO events e USING outside o ON o.stream = e.stream WHEN MATCHED THEN UPDATE SET data = '{}'$$,
	$$MERGE INTO events e USING outside o ON o.stream = e.stream WHEN MATCHED THEN DELETE$$,
	$$MERGE INTO events e USING outside o ON o.stream = e.stream
		WHEN MATCHED AND false THEN DELETE WHEN NOT MATCHED THEN INSERT (stream, type, data) VALUES (o.stream, 't', '{}')$$,
	$$INSERT INTO events (stream, type, data, id) VALUES ('order-1', 'x', '{}', '00000000-0000-0000-0000-000000000001')
		ON CONFLICT (id) WHERE id IS NOT NULL DO UPDATE SET data = '{}'$$]);
CREATE VIEW window_on_events AS SELECT * FROM events;
CALL refuse(ARRAY[
	$$UPDATE window_on_events SET data = '{}'$$,
	$$DELETE FROM window_on_events$$,
	$$UPDATE new_events SET data = '{}'$$,
	$$DELETE FROM new_events$$,
	$$DO 'BEGIN DELETE FROM regress_append_only.events; END'$$]);
PREPARE rewrite AS UPDATE events SET data = '{}';
EXECUTE rewrite;
\echo :SQLSTATE
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM events FOR UPDATE;
FETCH NEXT FROM c \g /dev/null
DELETE FROM events WHERE CURRENT OF c;
\echo :SQLSTATE
ROLLBACK;

-- Switching the guard off, or putting something beside it.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.data := '"meddled"'; RETURN NEW; END $$;
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TABLE parent (LIKE events);
CREATE TABLE partitioned (LIKE events) PARTITION BY LIST (stream);
SELECT tgname AS a_trigger FROM pg_trigger WHERE tgrelid = 'events'::regclass ORDER BY tgname LIMIT 1 \gset
CALL refuse(ARRAY[
	$$ALTER TABLE events DISABLE TRIGGER ALL$$,
	$$ALTER TABLE events DISABLE TRIGGER USER$$,
	format('ALTER TABLE events DISABLE TRIGGER %I', :'a_trigger'),
	format('ALTER TABLE events ENABLE TRIGGER %I', :'a_trigger'),
	format('ALTER TABLE events ENABLE REPLICA TRIGGER %I', :'a_trigger'),
	$$ALTER TABLE events ENABLE TRIGGER ALL$$,
	format('ALTER TRIGGER %I ON events RENAME TO aside', :'a_trigger'),
	format('DROP TRIGGER %I ON events', :'a_trigger'),
	$$CREATE TRIGGER meddle BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION meddle()$$,
	$$CREATE RULE no_insert AS ON INSERT TO events DO INSTEAD NOTHING$$,
	$$CREATE RULE also_insert AS ON INSERT TO events DO ALSO DELETE FROM outside$$,
	$$CREATE RULE on_update AS ON UPDATE TO events DO INSTEAD NOTHING$$,
	$$CREATE RULE on_delete AS ON DELETE TO events DO INSTEAD NOTHING$$,
	$$ALTER TABLE events INHERIT parent$$,
	$$CREATE TABLE child () INHERITS (events)$$,
	$$ALTER TABLE parent INHERIT events$$,
	$$ALTER TABLE partitioned ATTACH PARTITION events DEFAULT$$,
	$$SET evstore.maintenance = on$$]);

-- Changing what the guarded columns are.
CALL refuse(ARRAY[
	$$ALTER TABLE events DROP COLUMN data$$,
	$$ALTER TABLE events DROP COLUMN metadata CASCADE$$,
	$$ALTER TABLE events RENAME COLUMN data TO payload$$,
	$$ALTER TABLE events ALTER COLUMN data TYPE text USING '{}'$$,
	$$ALTER TABLE events ALTER COLUMN version TYPE numeric$$,
	$$ALTER TABLE events ALTER COLUMN data TYPE jsonb USING '{}'$$,
	$$ALTER TABLE events ALTER COLUMN position SET DEFAULT 1$$,
	$$ALTER TABLE events ALTER COLUMN type DROP NOT NULL$$,
	$$ALTER TABLE events ALTER COLUMN position ADD GENERATED ALWAYS AS IDENTITY$$,
	$$ALTER TABLE events DROP CONSTRAINT events_pkey$$,
	$$ALTER TABLE events DROP CONSTRAINT events_stream_version_key$$,
	$$DROP INDEX events_id_idx$$,
	$$DROP INDEX events_pkey$$,
	$$ALTER TABLE events OF evstore.event$$,
	$$ALTER TABLE events SET UNLOGGED$$,
	$$ALTER TABLE events SET WITHOUT CLUSTER, DROP COLUMN tags$$]);

-- Dropping it, from every side.
CALL refuse(ARRAY[
	$$DROP TABLE events$$,
	$$DROP TABLE IF EXISTS outside, events CASCADE$$,
	$$DROP SCHEMA regress_append_only CASCADE$$,
	$$DROP OWNED BY regress_append_only$$,
	$$DROP OWNED BY regress_append_only CASCADE$$]);

-- The superuser is refused too.
RESET ROLE;
CALL refuse(ARRAY[
	$$UPDATE events SET data = '{}'$$,
	$$DELETE FROM events$$,
	$$TRUNCATE events$$,
	$$MERGE INTO events e USING outside o ON o.stream = e.stream WHEN MATCHED THEN DELETE$$,
	$$ALTER TABLE events DISABLE TRIGGER ALL$$,
	format('DROP TRIGGER %I ON events', :'a_trigger'),
	$$CREATE RULE on_delete AS ON DELETE TO events DO INSTEAD NOTHING$$,
	$$ALTER TABLE events DROP COLUMN data$$,
	$$DROP TABLE events$$,
	$$DROP SCHEMA regress_append_only CASCADE$$,
	$$DROP OWNED BY regress_append_only CASCADE$$,
	$$DROP EXTENSION evstore$$,
	$$DROP EXTENSION evstore CASCADE$$,
	$$DROP SCHEMA evstore CASCADE$$,
	$$DROP FUNCTION evstore._guard() CASCADE$$]);
-- A foreign table would be as good a child as any.
CREATE FOREIGN DATA WRAPPER regress_append_only;
CREATE SERVER regress_append_only FOREIGN DATA WRAPPER regress_append_only;
CREATE FOREIGN TABLE far (position bigint NOT NULL, version bigint NOT NULL, recorded_at timestamptz NOT NULL,
	schema_version integer NOT NULL, id uuid, stream text COLLATE "C" NOT NULL, type text COLLATE "C" NOT NULL,
	data jsonb NOT NULL, metadata jsonb, tags text[]) SERVER regress_append_only;
CALL refuse(ARRAY[
	$$CREATE FOREIGN TABLE child () INHERITS (events) SERVER regress_append_only$$,
	$$ALTER FOREIGN TABLE far INHERIT events$$,
	$$SELECT evstore.protect('far')$$]);
SET client_min_messages = warning;
DROP FOREIGN DATA WRAPPER regress_append_only CASCADE;
RESET client_min_messages;
-- The extension's schema is no place where less is guarded.
CALL refuse(ARRAY[
	$$ALTER TABLE events SET SCHEMA evstore; DROP TRIGGER evstore_insert ON evstore.events$$,
	$$ALTER TABLE events SET SCHEMA evstore; DROP TRIGGER evstore_guard ON evstore.events$$,
	$$ALTER TABLE events SET SCHEMA evstore; DROP TRIGGER evstore_guard_row ON evstore.events$$,
	$$ALTER TABLE events SET SCHEMA evstore; DROP INDEX evstore.events_id_idx$$,
	$$ALTER TABLE events SET SCHEMA evstore; DROP OWNED BY regress_append_only CASCADE$$]);
-- What the guard goes by keeps its name and its meaning.
CALL refuse(ARRAY[
	$$ALTER SCHEMA evstore RENAME TO aside$$,
	$$ALTER SEQUENCE evstore.position_sequence RENAME TO aside$$,
	$$ALTER SEQUENCE evstore.position_sequence SET SCHEMA regress_append_only$$,
	$$ALTER TYPE evstore.event RENAME TO aside$$,
	$$ALTER TYPE evstore.event SET SCHEMA regress_append_only$$,
	$$ALTER TYPE evstore.new_event RENAME TO aside$$,
	$$ALTER FUNCTION evstore._insert() RENAME TO aside$$,
	$$ALTER FUNCTION evstore._guard() RENAME TO aside$$,
	$$ALTER FUNCTION evstore._guard() SET SCHEMA regress_append_only$$,
	$$CREATE OR REPLACE FUNCTION evstore._insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'$$,
	$$CREATE OR REPLACE FUNCTION evstore._guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'$$]);
-- also when triggers are told to sleep
SET session_replication_role = replica;
CALL refuse(ARRAY[
	$$UPDATE events SET data = '{}'$$,
	$$DELETE FROM events$$,
	$$TRUNCATE events$$,
	$$DROP TABLE events$$]);
-- and an insert gets its version all the same
INSERT INTO events (stream, type, data) VALUES ('order-1', 'Replica', '{}') RETURNING version;
INSERT INTO events (stream, version, type, data) VALUES ('order-1', 9, 'Replica', '{}');
\echo :SQLSTATE
RESET session_replication_role;

-- The rows are as they were.
SELECT stream, version, type, data FROM events ORDER BY position;
SELECT count(*) FROM outside;
SELECT count(*) FROM evstore.maintenance_log WHERE target LIKE '%regress_append_only%';

--
-- What must still work
--

SET ROLE regress_append_only;
ANALYZE events;
VACUUM events;
VACUUM FULL events;
VACUUM (FREEZE, ANALYZE) events;
REINDEX TABLE events;
REINDEX TABLE CONCURRENTLY events;
CLUSTER events USING events_pkey;
SELECT version FROM evstore.append('order-1', 'Rewritten', '{}', expected_version => 3);
ALTER TABLE events ADD COLUMN constant text NOT NULL DEFAULT 'home';
ALTER TABLE events ADD COLUMN noted_at timestamptz DEFAULT clock_timestamp();
ALTER TABLE events ADD COLUMN category text GENERATED ALWAYS AS (split_part(stream, '-', 1)) STORED;
ALTER TABLE events ALTER COLUMN constant DROP DEFAULT, ALTER COLUMN constant DROP NOT NULL;
ALTER TABLE events RENAME COLUMN noted_at TO seen_at;
ALTER TABLE events ALTER COLUMN constant TYPE varchar(10);
ALTER TABLE events DROP COLUMN seen_at;
ALTER TABLE events ADD CONSTRAINT known CHECK (type <> 'Unknown');
ALTER TABLE events DROP CONSTRAINT known;
ALTER TABLE events ALTER COLUMN data SET STATISTICS 1000;
ALTER TABLE events ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE events SET (fillfactor = 90, autovacuum_enabled = false);
ALTER TABLE events REPLICA IDENTITY FULL;
CREATE INDEX events_type ON events (type);
CREATE INDEX CONCURRENTLY events_tags ON events USING gin (tags);
DROP INDEX events_type;
ALTER TABLE events RENAME CONSTRAINT events_pkey TO events_position;
ALTER TABLE events RENAME CONSTRAINT events_position TO events_pkey;
CREATE STATISTICS events_statistics ON stream, type FROM events;
DROP STATISTICS events_statistics;
COMMENT ON TABLE events IS 'the orders';
COMMENT ON COLUMN events.data IS 'what happened';
CREATE TRIGGER watch AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION watch();
ALTER TABLE events DISABLE TRIGGER watch;
ALTER TABLE events ENABLE TRIGGER watch;
DROP TRIGGER watch ON events;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY everyone ON events USING (true);
DROP POLICY everyone ON events;
ALTER TABLE events DISABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON events TO PUBLIC;
REVOKE INSERT ON events FROM PUBLIC;
BEGIN;
LOCK TABLE events IN SHARE MODE;
SELECT version FROM events WHERE stream = 'order-1' ORDER BY version FOR UPDATE;
SELECT version FROM events WHERE stream = 'order-1' ORDER BY version FOR KEY SHARE;
SELECT version FROM events WHERE stream = 'order-1' ORDER BY version FOR SHARE;
COMMIT;
COPY (SELECT version, type FROM events ORDER BY position) TO stdout;

-- Another table may point to an event.
CREATE TABLE invoice (number integer PRIMARY KEY, "position" bigint REFERENCES events, stream text COLLATE "C", version bigint,
	FOREIGN KEY (stream, version) REFERENCES events (stream, version));
INSERT INTO invoice SELECT 1, position, stream, version FROM events WHERE version = 1;
INSERT INTO invoice (number, position) VALUES (2, 0);
\echo :SQLSTATE
DELETE FROM invoice;
DROP TABLE invoice;
-- An event may point to another table; what happens there does not reach the event.
CREATE TABLE known_type (type text COLLATE "C" PRIMARY KEY);
INSERT INTO known_type SELECT DISTINCT type FROM events;
ALTER TABLE events ADD CONSTRAINT known FOREIGN KEY (type) REFERENCES known_type ON DELETE CASCADE ON UPDATE CASCADE;
DELETE FROM known_type;
\echo :SQLSTATE
UPDATE known_type SET type = 'x' WHERE type = 'OrderPlaced';
\echo :SQLSTATE
ALTER TABLE events DROP CONSTRAINT known;

-- Owner, name and schema change like any table's; the guard goes along.
RESET ROLE;
CREATE ROLE regress_append_only_heir;
GRANT USAGE, CREATE ON SCHEMA regress_append_only TO regress_append_only_heir;
CREATE SCHEMA regress_append_only_2;
ALTER TABLE events OWNER TO regress_append_only_heir;
ALTER TABLE events OWNER TO regress_append_only;
ALTER TABLE events RENAME TO history;
ALTER TABLE history SET SCHEMA regress_append_only_2;
UPDATE regress_append_only_2.history SET data = '{}';
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'Moved', '{}', expected_version => 4, event_table => 'regress_append_only_2.history');
ALTER TABLE regress_append_only_2.history SET SCHEMA regress_append_only;
ALTER TABLE history RENAME TO events;
REASSIGN OWNED BY regress_append_only TO regress_append_only_heir;
REASSIGN OWNED BY regress_append_only_heir TO regress_append_only;
SELECT relowner::regrole FROM pg_class WHERE oid = 'events'::regclass;
SELECT version, type FROM events ORDER BY position;

--
-- The maintenance door
--

-- A superuser alone can open it.
SET ROLE regress_append_only;
SET evstore.maintenance = on;
\echo :SQLSTATE
SHOW evstore.maintenance;
SELECT evstore.drop_event_table('events');
\echo :SQLSTATE
RESET ROLE;

SET evstore.maintenance = on;
UPDATE events SET data = '{"total": 11}' WHERE version = 1;
DELETE FROM events WHERE version = 5;
ALTER TABLE events ALTER COLUMN data SET DEFAULT '{}';
SELECT version, type, data FROM events ORDER BY position;
SET client_min_messages = warning;
BEGIN;
TRUNCATE events;
DROP TABLE events CASCADE;
ROLLBACK;
SELECT evstore.create_event_table('unwanted');
SELECT version FROM evstore.append('order-1', 'Mistake', '{}', event_table => 'unwanted');
TRUNCATE unwanted;
ALTER TABLE unwanted DISABLE TRIGGER ALL;
ALTER TABLE unwanted DROP COLUMN tags CASCADE;
DROP TABLE unwanted;
SELECT evstore.create_event_table('unwanted');
SELECT evstore.drop_event_table('unwanted');
RESET client_min_messages;
-- who acted, in which role, on what; work undone leaves no row, since nothing happened
SELECT command, target, session_role = SESSION_USER AS session_role, acting_role = CURRENT_USER AS acting_role,
	pid = pg_backend_pid() AS pid, happened_at BETWEEN now() - interval '1 hour' AND clock_timestamp() AS just_now
FROM evstore.maintenance_log WHERE target LIKE '%regress_append_only%' ORDER BY happened_at;
-- a session that opened the door and then became another role does not keep it open
SET ROLE regress_append_only;
DELETE FROM events;
\echo :SQLSTATE
RESET ROLE;
RESET evstore.maintenance;
DELETE FROM events;
\echo :SQLSTATE

-- The log itself is append-only.
CALL refuse(ARRAY[
	$$UPDATE evstore.maintenance_log SET command = ''$$,
	$$DELETE FROM evstore.maintenance_log$$,
	$$TRUNCATE evstore.maintenance_log$$,
	$$ALTER TABLE evstore.maintenance_log DISABLE TRIGGER ALL$$,
	$$DROP TRIGGER evstore_guard ON evstore.maintenance_log$$,
	$$DROP TRIGGER evstore_guard_row ON evstore.maintenance_log$$,
	$$DROP TABLE evstore.maintenance_log$$]);

-- and who changes it through the door leaves a row in it, too
SET evstore.maintenance = on;
UPDATE evstore.maintenance_log SET command = command || ' (on demand)' WHERE target = 'regress_append_only.unwanted' AND command = 'TRUNCATE';
-- what failed or was rolled back to a savepoint leaves none
CREATE TABLE entries (x integer);
SELECT evstore.protect('entries');
BEGIN;
SAVEPOINT a;
ALTER TABLE entries DISABLE TRIGGER evstore_guard, ADD COLUMN x integer;
ROLLBACK TO a;
TRUNCATE entries;
COMMIT;
DO $$
BEGIN
	BEGIN
		ALTER TABLE entries DISABLE TRIGGER evstore_guard;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
	END;
	ALTER TABLE entries DROP COLUMN x;
END
$$;
SELECT command, target FROM evstore.maintenance_log WHERE target = 'regress_append_only.entries' ORDER BY happened_at;
RESET evstore.maintenance;
SELECT command, target FROM evstore.maintenance_log
WHERE target IN ('evstore.maintenance_log', 'regress_append_only.unwanted') ORDER BY happened_at;

--
-- evstore.protect: the same guard for any table
--

SET ROLE regress_append_only;
CREATE TABLE ledger (entry integer PRIMARY KEY, amount numeric);
INSERT INTO ledger VALUES (1, 10);
SELECT evstore.protect('ledger');
INSERT INTO ledger VALUES (2, 20);
CALL refuse(ARRAY[
	$$UPDATE ledger SET amount = 0$$,
	$$DELETE FROM ledger WHERE false$$,
	$$TRUNCATE ledger$$,
	$$ALTER TABLE ledger DISABLE TRIGGER ALL$$,
	$$ALTER TABLE ledger DROP COLUMN amount$$,
	$$DROP TABLE ledger$$]);
SELECT evstore.protect('ledger');
\echo :SQLSTATE
SELECT evstore.protect('window_on_events');
\echo :SQLSTATE
SELECT evstore.protect('pg_catalog.pg_class');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'x', '{}', event_table => 'ledger');
\echo :SQLSTATE
-- not where rows could come, go or change shape by way of another table or a type
CREATE TABLE book (entry integer);
CREATE TABLE page () INHERITS (book);
CREATE TABLE yearbook (entry integer, year integer) PARTITION BY LIST (year);
CREATE TABLE yearbook_1 PARTITION OF yearbook DEFAULT;
CREATE TYPE slip AS (entry integer);
CREATE TABLE slips OF slip;
CREATE UNLOGGED TABLE notepad (entry integer);
CALL refuse(ARRAY[
	$$SELECT evstore.protect('book')$$,
	$$SELECT evstore.protect('page')$$,
	$$SELECT evstore.protect('yearbook')$$,
	$$SELECT evstore.protect('yearbook_1')$$,
	$$SELECT evstore.protect('slips')$$,
	$$SELECT evstore.protect('notepad')$$]);
RESET ROLE;
GRANT USAGE ON SCHEMA regress_append_only TO regress_append_only_heir;
SET ROLE regress_append_only_heir;
SELECT evstore.protect('regress_append_only.outside');
\echo :SQLSTATE
RESET ROLE;
SELECT * FROM ledger ORDER BY entry;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append_only, regress_append_only_2 CASCADE;
DROP ROLE regress_append_only, regress_append_only_heir;
RESET client_min_messages;
RESET evstore.maintenance;
RESET search_path;

-- With no table left to guard, the extension may go, and its log with it. What
-- fails to take the extension does not lay the log open.
CREATE VIEW regress_append_only AS SELECT * FROM evstore.maintenance_log;
DO $$
BEGIN
	BEGIN
		DROP EXTENSION evstore;
	EXCEPTION WHEN dependent_objects_still_exist THEN
		RAISE INFO '%', SQLERRM;
	END;
	DROP TRIGGER evstore_guard ON evstore.maintenance_log;
END
$$;
\echo :SQLSTATE
DROP VIEW regress_append_only;
BEGIN;
DROP EXTENSION evstore;
ROLLBACK;
DELETE FROM evstore.maintenance_log;
\echo :SQLSTATE
