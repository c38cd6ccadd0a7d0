-- Row-level security on an event table: append, INSERT and the reading functions
-- do what the policies of the present role allow, whoever the session was before.

\set SHOW_CONTEXT never
CREATE ROLE regress_keeper;
CREATE ROLE regress_north;
CREATE ROLE regress_south;
CREATE SCHEMA regress_row_security AUTHORIZATION regress_keeper;
GRANT USAGE ON SCHEMA regress_row_security TO regress_north, regress_south;
SET search_path = regress_row_security;
SET ROLE regress_keeper;
SELECT evstore.create_event_table();
GRANT SELECT, INSERT ON events TO regress_north, regress_south;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY north ON events TO regress_north USING (stream LIKE 'north-%');
CREATE POLICY south_adds ON events FOR INSERT TO regress_south
	WITH CHECK (stream LIKE 'south-%' AND metadata->>'by' = current_user AND version < 4);
CREATE POLICY south_sees ON events FOR SELECT TO regress_south USING (stream LIKE 'south-%' AND type <> 'Hidden');

-- How an event came into the table: only the executor's INSERT makes a plan.
CREATE FUNCTION insert_plans() RETURNS bigint LANGUAGE sql SET search_path = pg_catalog AS
$$ SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'CachedPlanSource' AND ident LIKE 'INSERT INTO regress_row_security.events %' $$;

-- No policy binds the owner: straight into the table.
SELECT version FROM evstore.append('north-1', 'Added', '1');
SELECT version FROM evstore.append('south-1', 'Added', '2');
SELECT version FROM evstore.append('west-1', 'Added', '3');
RESET ROLE;
SELECT insert_plans();

-- They bind the others, by turns in the same session.
SET ROLE regress_north;
SELECT version FROM evstore.append('north-1', 'Added', '4', expected_version => 1);
SELECT version FROM evstore.append('north-1', evstore.events('[{"type": "Added", "data": 5}, {"type": "Added", "data": 6}]'));
INSERT INTO events (stream, type, data) VALUES ('north-1', 'Added', '7') RETURNING version;
SELECT version FROM evstore.append('south-1', 'Added', '0');
\echo :SQLSTATE
INSERT INTO events (stream, type, data) VALUES ('south-1', 'Added', '0');
\echo :SQLSTATE
RESET ROLE;
SELECT insert_plans();
SET ROLE regress_south;
SELECT version FROM evstore.append('south-1', 'Added', '8', '{"by": "regress_south"}');
SELECT version FROM evstore.append('south-1', 'Hidden', '9', '{"by": "regress_south"}');
SELECT version FROM evstore.append('south-1', 'Added', '0', '{"by": "regress_south"}');
\echo :SQLSTATE
SELECT version FROM evstore.append('south-2', 'Added', '0', '{"by": "regress_north"}');
\echo :SQLSTATE
SELECT version FROM evstore.append('north-1', 'Added', '0', '{"by": "regress_south"}');
\echo :SQLSTATE
-- one that is kept out keeps the others out
SELECT version FROM evstore.append('south-2', ARRAY[
	('Added', '0', '{"by": "regress_south"}', NULL, NULL, NULL), ('Added', '0', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
\echo :SQLSTATE
SELECT evstore.stream_version('south-2');

-- Reading, by turns as well.
SELECT stream, version, data FROM evstore.read_events();
SELECT version, data FROM evstore.read_stream('south-1');
SELECT version, data FROM evstore.read_stream('south-1', backwards => true);
SELECT evstore.stream_version('south-1'), evstore.stream_version('north-1');
SELECT count(*) FROM events;
SET ROLE regress_north;
SELECT stream, version, data FROM evstore.read_events();
SELECT version, data FROM evstore.read_stream('south-1');
SELECT evstore.stream_version('south-1'), evstore.stream_version('north-1');
SELECT count(*) FROM events;
SET ROLE regress_keeper;
SELECT stream, version, data FROM evstore.read_events();

-- A role that would rather fail than be bound.
SET ROLE regress_north;
SET row_security = off;
SELECT version FROM evstore.append('north-1', 'Added', '0');
\echo :SQLSTATE
SELECT count(*) FROM evstore.read_events();
\echo :SQLSTATE
RESET row_security;

-- FORCE binds the owner; BYPASSRLS frees a role; without policies nothing passes.
SET ROLE regress_keeper;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
SELECT version FROM evstore.append('west-1', 'Added', '0');
\echo :SQLSTATE
SELECT count(*) FROM evstore.read_events();
RESET ROLE;
ALTER ROLE regress_north BYPASSRLS;
SET ROLE regress_north;
SELECT version FROM evstore.append('west-1', 'Added', '10');
SELECT count(*) FROM evstore.read_events();
RESET ROLE;
ALTER ROLE regress_north NOBYPASSRLS;
SET ROLE regress_keeper;
DROP POLICY north ON events;
SET ROLE regress_north;
SELECT version FROM evstore.append('north-1', 'Added', '0');
\echo :SQLSTATE
SELECT count(*) FROM evstore.read_events();

-- Switched off again, all is as before.
SET ROLE regress_keeper;
ALTER TABLE events DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
SET ROLE regress_south;
SELECT version FROM evstore.append('north-1', 'Added', '11', expected_version => 5);
SELECT count(*) FROM evstore.read_events();

-- Events are not skipped for a projection's owner: a bound one is refused.
SET ROLE regress_keeper;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
GRANT CREATE ON SCHEMA regress_row_security TO regress_south;
SET ROLE regress_south;
SELECT evstore.create_projection('regress_south', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream');
\echo :SQLSTATE
CREATE TABLE copied (stream text);
SELECT evstore.create_projection('regress_south', statement => 'INSERT INTO copied SELECT stream FROM new_events');
\echo :SQLSTATE

-- A snapshot is for everybody: nobody takes one of what policies leave.
SET ROLE regress_keeper;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY late ON events USING (version > 2);
CREATE FUNCTION counted(n integer, e evstore.event) RETURNS integer LANGUAGE sql AS 'SELECT coalesce(n, 0) + 1';
SELECT evstore.create_aggregate('north', 'counted');
SELECT evstore._take_snapshot('north-1', 'events');
\echo :SQLSTATE
RESET ROLE;
SELECT state = to_jsonb(version) AS whole FROM evstore.load('north-1');
SELECT evstore.drop_aggregate('north');

RESET ROLE;
RESET search_path;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_row_security CASCADE;
DROP ROLE regress_keeper, regress_north, regress_south;
