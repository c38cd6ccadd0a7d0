-- Inline projections and roles: run as their owner, in whoever's session.

\set SHOW_CONTEXT never
CREATE ROLE regress_inline_table;
CREATE ROLE regress_inline_owner;
CREATE ROLE regress_inline_writer;
CREATE SCHEMA regress_inline_roles;
GRANT ALL ON SCHEMA regress_inline_roles TO regress_inline_table, regress_inline_owner;
GRANT USAGE ON SCHEMA regress_inline_roles TO regress_inline_writer;
SET search_path = regress_inline_roles;
SET ROLE regress_inline_table;
SELECT evstore.create_event_table();
GRANT SELECT ON events TO regress_inline_owner;
GRANT INSERT ON events TO regress_inline_writer;

-- To declare one needs TRIGGER on the event table: its code can make appends fail.
SET ROLE regress_inline_owner;
SELECT evstore.create_projection('regress_types', mode => 'inline', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
\echo :SQLSTATE
SELECT evstore.create_projection('regress_types', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT evstore.set_projection('regress_types', mode => 'inline');
SET ROLE regress_inline_table;
GRANT TRIGGER ON events TO regress_inline_owner;
-- ... and to be the owner of the projection
SELECT evstore.set_projection('regress_types', mode => 'inline');
SET ROLE regress_inline_owner;
SELECT evstore.set_projection('regress_types', mode => 'inline');
CREATE TABLE who (who name, session name, path text, zone text);
SELECT evstore.create_projection('regress_who', mode => 'inline', statement => $$
	INSERT INTO who SELECT current_user, session_user, current_setting('search_path'), current_setting('TimeZone') FROM new_events$$);

-- Who appends needs no right but INSERT, and gives none away.
SET ROLE regress_inline_writer;
SET search_path = public, regress_inline_roles;
SET TimeZone = 'Asia/Tokyo';
SELECT version FROM evstore.append('s', 'T', '{}', event_table => 'regress_inline_roles.events');
SELECT current_user, current_setting('search_path'), current_setting('TimeZone');
TABLE regress_types;
RESET TimeZone;
SET ROLE regress_inline_owner;
SET search_path = regress_inline_roles;
SELECT who, session = session_user AS same_session, path, zone FROM who;
TABLE regress_types;
-- A session's settings do not change what a definition means.
CREATE TABLE meaning (n integer, price text, escaped text, missing boolean, arrays text);
SELECT evstore.create_projection('regress_meaning', mode => 'inline', statement => $$
	INSERT INTO meaning SELECT 1, (data->>'price')::numeric::money::text, 'a\nb', NULL = NULL, '{NULL}'::text[] IS NOT DISTINCT FROM ARRAY[NULL::text] FROM new_events$$);
-- a new session, which has not kept a plan
\c -
SET search_path = regress_inline_roles;
SET ROLE regress_inline_writer;
SET transform_null_equals = on;
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET array_nulls = off;
SELECT version FROM evstore.append('s', 'T', '{"price": 1.5}');
RESET transform_null_equals;
RESET standard_conforming_strings;
RESET array_nulls;
SELECT version FROM evstore.append('s', 'T', '{"price": 1.5}');
SET ROLE regress_inline_owner;
TABLE meaning;
SELECT evstore.drop_projection('regress_meaning');

-- A statement cannot become the appender, nor anybody else.
CREATE FUNCTION become(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SET ROLE ' || (e.data->>'role'); END$$;
SELECT evstore.create_projection('regress_become', mode => 'inline', handlers => '{"Become": "become"}');
SET ROLE regress_inline_writer;
SELECT version FROM evstore.append('s', 'Become', '{"role": "regress_inline_writer"}');
\echo :SQLSTATE
SELECT version FROM evstore.append('s', 'Become', '{"role": "none"}');
\echo :SQLSTATE
SELECT current_user;

-- Two roles by turns: the same plan serves both, and memory does not grow.
SET ROLE regress_inline_owner;
SELECT evstore.drop_projection('regress_become');
SELECT evstore.drop_projection('regress_who');
RESET ROLE;
GRANT INSERT ON events TO regress_inline_table, regress_inline_owner;
CREATE FUNCTION by_turns(n integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		SET LOCAL ROLE regress_inline_writer;
		PERFORM evstore.append('s-' || i, 'T', '{}');
		SET LOCAL ROLE regress_inline_table;
		INSERT INTO events (stream, type, data) VALUES ('s-' || i, 'T', '{}');
		RESET ROLE;
	END LOOP;
END $$;
CREATE FUNCTION memory() RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(used_bytes) FROM pg_backend_memory_contexts
	WHERE name NOT LIKE 'Exec%' AND name NOT IN ('PortalContext', 'ErrorContext', 'MessageContext') $$;
SELECT by_turns(200);
SELECT by_turns(200);
SELECT memory() AS before \gset
SELECT by_turns(1000);
SELECT memory() - :before < 100000 AS bounded, n FROM regress_types;

-- The owner loses what it needs: appends fail, until it has it again, or somebody lets workers do it.
REVOKE SELECT ON events FROM regress_inline_owner;
SET ROLE regress_inline_writer;
SELECT version FROM evstore.append('s', 'T', '{}');
\echo :SQLSTATE
RESET ROLE;
SELECT evstore.set_projection('regress_types', mode => 'async');
SET ROLE regress_inline_writer;
SELECT version FROM evstore.append('s', 'T', '{}');
RESET ROLE;
GRANT SELECT ON events TO regress_inline_owner;
SELECT evstore.wait_for('regress_types');
TABLE regress_types;
SELECT evstore.set_projection('regress_types', mode => 'inline');
-- TRIGGER is asked for once
REVOKE TRIGGER ON events FROM regress_inline_owner;
SELECT version FROM evstore.append('s', 'T', '{}');
TABLE regress_types;
-- An unlogged read table is refused.
ALTER TABLE regress_types SET UNLOGGED;
SELECT version FROM evstore.append('s', 'T', '{}');
ALTER TABLE regress_types SET LOGGED;
-- A read table may be renamed, moved and exchanged.
ALTER TABLE regress_types RENAME TO types;
SELECT version FROM evstore.append('s', 'T', '{}');
TABLE types;
-- A policy that binds the owner is refused.
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON events USING (true);
SELECT version FROM evstore.append('s', 'T', '{}');
ALTER TABLE events DISABLE ROW LEVEL SECURITY;
SELECT version FROM evstore.append('s', 'T', '{}');
TABLE types;

-- The owner is dropped: appends fail until a superuser lets workers try in its place, or drops the projection.
CREATE ROLE regress_inline_gone;
GRANT USAGE ON SCHEMA regress_inline_roles TO regress_inline_gone;
GRANT SELECT, TRIGGER ON events TO regress_inline_gone;
SET ROLE regress_inline_gone;
SELECT evstore.create_projection('regress_gone', mode => 'inline', statement => 'SELECT count(*) FROM new_events');
RESET ROLE;
SELECT version FROM evstore.append('s', 'T', '{}');
DROP OWNED BY regress_inline_gone;
DROP ROLE regress_inline_gone;
\set VERBOSITY terse
SELECT version FROM evstore.append('s', 'T', '{}');
\echo :SQLSTATE
\set VERBOSITY default
SELECT evstore.set_projection('regress_gone', mode => 'async');
SELECT version FROM evstore.append('s', 'T', '{}');
SELECT evstore.drop_projection('regress_gone');
TABLE types;

-- Without its trigger, one is detached.
SET evstore.maintenance = on;
DROP TRIGGER evstore_inline ON events;
RESET evstore.maintenance;
SELECT state FROM evstore.projections WHERE name = 'regress_types';

SELECT evstore.drop_projection('regress_types');
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
RESET evstore.maintenance;
SET client_min_messages = warning;
DROP SCHEMA regress_inline_roles CASCADE;
DROP ROLE regress_inline_table, regress_inline_owner, regress_inline_writer;
