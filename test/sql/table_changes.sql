-- What others make of an event table while a session has plans and state for
-- it: the next call obeys.

\set VERBOSITY terse
CREATE SCHEMA regress_table_changes;
SET search_path = regress_table_changes;
SELECT evstore.create_event_table();
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}');

-- A column may be made to need a value, and be let go again; those that every event has may not.
SELECT evstore.create_event_table('signed');
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', '{"user": "ann"}', event_table => 'signed');
ALTER TABLE signed ALTER COLUMN metadata SET NOT NULL;
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', event_table => 'signed');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', '{"user": "ann"}', event_table => 'signed');
INSERT INTO signed (stream, type, data) VALUES ('order-1', 'OrderShipped', '{}');
\echo :SQLSTATE
ALTER TABLE signed ALTER COLUMN metadata DROP NOT NULL;
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 'signed');
ALTER TABLE signed ALTER COLUMN data DROP NOT NULL;
\echo :SQLSTATE

-- Where NOT NULL is a constraint of its own, that cannot be dropped either.
DO $$
DECLARE
	needed text;
BEGIN
	SELECT conname INTO needed FROM pg_constraint WHERE conrelid = 'events'::regclass AND contype = 'n' ORDER BY conname LIMIT 1;
	IF needed IS NOT NULL THEN
		EXECUTE format('ALTER TABLE events DROP CONSTRAINT %I', needed);
		RAISE 'dropped %', needed;
	END IF;
EXCEPTION WHEN SQLSTATE 'VE005' THEN NULL;
END
$$;

-- An added column of a domain takes its default, and what the domain says.
CREATE DOMAIN shop AS text DEFAULT 'web';
ALTER TABLE events ADD COLUMN shop shop;
SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{}');
SELECT version, shop FROM events WHERE stream = 'order-2';
ALTER DOMAIN shop ADD CHECK (value <> 'web') NOT VALID;
SELECT version FROM evstore.append('order-2', 'OrderPaid', '{}');
\echo :SQLSTATE
SELECT version, shop FROM events WHERE stream = 'order-2' ORDER BY version;

-- An index of some of the ids is not taken for that of all.
SELECT evstore.create_event_table('twice');
SELECT version FROM evstore.append('a', 'T', '{}', id => '00000000-0000-0000-0000-000000000001', event_table => 'twice');
CREATE UNIQUE INDEX twice_some_ids ON twice (id) WHERE type = 'X';
REINDEX INDEX CONCURRENTLY twice_id_idx;
SELECT version FROM evstore.append('a', 'T', '{}', id => '00000000-0000-0000-0000-000000000001', event_table => 'twice');
SELECT version FROM evstore.append('b', 'T', '{}', id => '00000000-0000-0000-0000-000000000001', event_table => 'twice');
\echo :SQLSTATE

-- What the executor's INSERT runs may catch errors, and append itself.
CREATE FUNCTION seven() RETURNS integer LANGUAGE plpgsql AS
	$$BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; RETURN 7; END$$;
SELECT evstore.create_event_table('busy');
ALTER TABLE busy ADD COLUMN seven integer DEFAULT seven();
SELECT evstore.create_event_table('echo');
ALTER TABLE echo ADD CHECK (type <> '');
CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN PERFORM evstore.append('echo', 'Heard', '{}', event_table => 'echo'); RETURN NULL; END$$;
CREATE TRIGGER echo BEFORE INSERT ON busy FOR EACH STATEMENT EXECUTE FUNCTION echo();
SELECT version FROM evstore.append('a', evstore.events('[{"type": "T", "data": {}}, {"type": "T", "data": {}}]'), event_table => 'busy');
SELECT version, seven FROM busy ORDER BY position;
-- an append from within that fails leaves the outer one as it was
CREATE FUNCTION once() RETURNS integer LANGUAGE plpgsql AS
	$$BEGIN BEGIN PERFORM evstore.append('a', '', '{}', event_table => 'echo'); EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN PERFORM evstore.append('a', 'Bad', '{}', event_table => 'echo'); EXCEPTION WHEN check_violation THEN NULL; END; RETURN 1; END$$;
ALTER TABLE echo ADD CHECK (type <> 'Bad');
ALTER TABLE busy ALTER COLUMN seven SET DEFAULT once();
SELECT version FROM evstore.append('b', 'T', '{}', event_table => 'busy');
SELECT version FROM echo ORDER BY position;

-- One append is one statement: AFTER triggers see all of it, and may append to the same stream.
SELECT evstore.create_event_table('answered');
CREATE FUNCTION answer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.type = 'Asked' THEN
		PERFORM evstore.append(NEW.stream, 'Answered', to_jsonb((SELECT count(*) FROM answered)), event_table => 'answered');
	END IF;
	RETURN NULL;
END$$;
CREATE TRIGGER answer AFTER INSERT ON answered FOR EACH ROW EXECUTE FUNCTION answer();
SELECT version FROM evstore.append('q-1', evstore.events('[{"type": "Asked", "data": {}}, {"type": "Asked", "data": {}}]'), event_table => 'answered');
SELECT count(*) FROM evstore.append_streams(ARRAY[('q-2', evstore.events('[{"type": "Asked", "data": {}}]'), 0)::evstore.stream_append,
	('q-3', evstore.events('[{"type": "Asked", "data": {}}]'), 0)::evstore.stream_append], 'answered');
SELECT stream, version, type, data FROM answered ORDER BY position;

-- Schemas that swap names take their tables along: a table is known by its oid.
CREATE SCHEMA regress_table_blue;
CREATE SCHEMA regress_table_green;
SELECT evstore.create_event_table('regress_table_blue.events'), evstore.create_event_table('regress_table_green.events');
SELECT 'regress_table_blue.events'::regclass::oid AS blue \gset
SELECT version FROM evstore.append('s', 'Blue', '{}', event_table => :blue);
SELECT version FROM evstore.append_if(evstore.events('[{"type": "Blue", "data": {}, "tags": ["b"]}]'), '{"items": [{"tags": ["b"]}]}', event_table => :blue);
SELECT type FROM evstore.read_stream('s', event_table => :blue);
SELECT evstore.stream_version('s', event_table => :blue);
ALTER SCHEMA regress_table_blue RENAME TO regress_table_old;
ALTER SCHEMA regress_table_green RENAME TO regress_table_blue;
SELECT type FROM evstore.read_stream('s', event_table => :blue);
SELECT evstore.stream_version('s', event_table => :blue);
SELECT version FROM evstore.append_if(evstore.events('[{"type": "Blue", "data": {}, "tags": ["b"]}]'), '{"items": [{"tags": ["b"]}]}', event_table => :blue);
\echo :SQLSTATE
SELECT count(*) FROM regress_table_blue.events;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_table_changes, regress_table_old, regress_table_blue CASCADE;
