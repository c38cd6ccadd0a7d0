-- evstore.append_if, read_by and their kind: who may use them, and what a
-- condition sees where policies hide events.

CREATE ROLE regress_if_owner;
CREATE ROLE regress_if_writer;
CREATE ROLE regress_if_decider;
CREATE ROLE regress_if_reader;
CREATE SCHEMA regress_append_if_roles AUTHORIZATION regress_if_owner;
GRANT USAGE ON SCHEMA regress_append_if_roles TO regress_if_writer, regress_if_decider, regress_if_reader;
SET search_path = regress_append_if_roles;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\set seat '\'{"items": [{"tags": ["seat"]}]}\''
\set event '\'{"(T,{},,,{seat},)"}\''

SET ROLE regress_if_owner;
SELECT evstore.create_event_table();
GRANT INSERT ON events TO regress_if_writer;
GRANT INSERT, SELECT ON events TO regress_if_decider;
GRANT SELECT ON events TO regress_if_reader;

-- A condition tells what is there: INSERT alone is not enough, nor is SELECT.
SET ROLE regress_if_writer;
SELECT * FROM evstore.append_if(:event, :seat);
\echo :SQLSTATE
SELECT * FROM evstore.read_by(:seat);
\echo :SQLSTATE
SET ROLE regress_if_reader;
SELECT * FROM evstore.append_if(:event, :seat);
\echo :SQLSTATE
SELECT count(*) FROM evstore.read_by(:seat);
SET ROLE regress_if_decider;
SELECT version FROM evstore.append_if(:event, :seat);
SELECT version FROM evstore.append_if(:event, :seat);
\echo :SQLSTATE
SELECT current_user, count(*) FROM evstore.read_by(:seat);
-- several streams need INSERT only
SET ROLE regress_if_writer;
SELECT stream, version FROM evstore.append_streams('{"(s-1,\"{\"\"(T,{},,,,)\"\"}\",0)","(s-2,,0)"}');
SELECT evstore.expect_version('s-1', 1);
SET ROLE regress_if_reader;
SELECT stream, version FROM evstore.append_streams('{"(s-1,\"{\"\"(T,{},,,,)\"\"}\",1)"}');
\echo :SQLSTATE
SELECT evstore.expect_version('s-1', 1);
\echo :SQLSTATE
SELECT stream, version FROM evstore.append_streams('{"(s-1,,1)"}');
\echo :SQLSTATE

-- Columns are not the table.
SET ROLE regress_if_owner;
REVOKE SELECT ON events FROM regress_if_decider;
GRANT SELECT (position, type, tags) ON events TO regress_if_decider;
SET ROLE regress_if_decider;
SELECT version FROM evstore.append_if(:event, :seat, 1000000);
\echo :SQLSTATE
SET ROLE regress_if_owner;
GRANT SELECT ON events TO regress_if_decider;

-- Policies: reading shows what the caller may see; a condition counts every event.
CREATE POLICY readable ON events FOR SELECT USING (tags IS NULL OR NOT tags @> '{hidden}');
CREATE POLICY writable ON events FOR INSERT WITH CHECK (type <> 'Forbidden');
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
SELECT version FROM evstore.append_if('{"(T,{},,,\"{hidden,seat:2}\",)"}', '{"items": [{"tags": ["seat:2"]}]}');
SET ROLE regress_if_decider;
SELECT count(*) FROM events WHERE tags @> '{seat:2}';
SELECT count(*) FROM evstore.read_by('{"items": [{"tags": ["seat:2"]}]}');
SELECT * FROM evstore.append_if('{"(T,{},,,{seat:2},)"}', '{"items": [{"tags": ["seat:2"]}]}');
\echo :SQLSTATE
-- up to the position that was read under, hidden or not
SELECT position IS NOT NULL AS appended
FROM evstore.append_if('{"(T,{},,,{seat:2},)"}', '{"items": [{"tags": ["seat:2"]}]}', evstore.read_position());
SELECT version FROM evstore.append_if('{"(Forbidden,{},,,{seat:3},)"}', '{"items": [{"tags": ["seat:3"]}]}');
\echo :SQLSTATE
SET row_security = off;
SELECT version FROM evstore.append_if('{"(T,{},,,{seat:2},)"}', '{"items": [{"tags": ["seat:2"]}]}');
\echo :SQLSTATE
RESET row_security;

-- FORCE binds the owner as well: then nobody's condition can be checked, ordinary appends go on.
SET ROLE regress_if_owner;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
SELECT version FROM evstore.append_if('{"(T,{},,,{seat:4},)"}', '{"items": [{"tags": ["seat:4"]}]}');
\echo :SQLSTATE
SET ROLE regress_if_decider;
SELECT version FROM evstore.append_if('{"(T,{},,,{seat:4},)"}', '{"items": [{"tags": ["seat:4"]}]}');
\echo :SQLSTATE
RESET ROLE;
SELECT version FROM evstore.append_if('{"(T,{},,,{seat:4},)"}', '{"items": [{"tags": ["seat:4"]}]}');
\echo :SQLSTATE
SET ROLE regress_if_writer;
SELECT version FROM evstore.append('s-3', 'T', '{}', tags => '{seat:4}');
SET ROLE regress_if_owner;
ALTER TABLE events NO FORCE ROW LEVEL SECURITY;
SET ROLE regress_if_decider;
SELECT version FROM evstore.append_if('{"(T,{},,,{seat:4},)"}', '{"items": [{"tags": ["seat:4"]}]}');
\echo :SQLSTATE

-- What the caller finds first on her path means nothing to the condition.
RESET ROLE;
CREATE SCHEMA regress_if_hostile AUTHORIZATION regress_if_decider;
SET ROLE regress_if_decider;
CREATE FUNCTION regress_if_hostile.shout(text[], text[]) RETURNS boolean LANGUAGE plpgsql
	AS $$ BEGIN RAISE WARNING 'hostile code ran as %', current_user; RETURN false; END $$;
CREATE FUNCTION regress_if_hostile.shout(bigint, bigint) RETURNS boolean LANGUAGE plpgsql
	AS $$ BEGIN RAISE WARNING 'hostile code ran as %', current_user; RETURN false; END $$;
CREATE FUNCTION regress_if_hostile.shout(text, text) RETURNS boolean LANGUAGE plpgsql
	AS $$ BEGIN RAISE WARNING 'hostile code ran as %', current_user; RETURN false; END $$;
CREATE FUNCTION regress_if_hostile.max(bigint) RETURNS bigint LANGUAGE plpgsql
	AS $$ BEGIN RAISE WARNING 'hostile code ran as %', current_user; RETURN 0; END $$;
CREATE OPERATOR regress_if_hostile.@> (FUNCTION = regress_if_hostile.shout, LEFTARG = text[], RIGHTARG = text[]);
CREATE OPERATOR regress_if_hostile.> (FUNCTION = regress_if_hostile.shout, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR regress_if_hostile.<= (FUNCTION = regress_if_hostile.shout, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR regress_if_hostile.= (FUNCTION = regress_if_hostile.shout, LEFTARG = text, RIGHTARG = text);
SET search_path = regress_if_hostile, regress_append_if_roles, pg_catalog;
SELECT version FROM evstore.append_if('{"(T,{},,,{seat:4},)"}', '{"items": [{"types": ["T"], "tags": ["seat:4"]}]}');
\echo :SQLSTATE
SELECT version FROM evstore.append_if('{"(T,{},,,{seat:5},)"}', '{"items": [{"types": ["T"], "tags": ["seat:5"]}]}');
SELECT stream, version, tags FROM evstore.read_by('{"items": [{"types": ["T"], "tags": ["seat:4"]}]}');

RESET ROLE;
SET search_path = regress_append_if_roles;
SELECT version, stream, type, tags FROM events ORDER BY position;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append_if_roles CASCADE;
DROP SCHEMA regress_if_hostile CASCADE;
DROP ROLE regress_if_owner, regress_if_writer, regress_if_decider, regress_if_reader;
