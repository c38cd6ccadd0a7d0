-- Nothing runs as a role that does not exist any more.

CREATE SCHEMA regress_event_type_owner;
CREATE ROLE regress_event_type_gone;
CREATE ROLE regress_event_type_next;
GRANT USAGE, CREATE ON SCHEMA regress_event_type_owner TO regress_event_type_gone, regress_event_type_next;
SET search_path = regress_event_type_owner;
SET ROLE regress_event_type_gone;
SELECT evstore.create_event_table();
CREATE TYPE row_of AS (n integer);
CREATE FUNCTION valid(data jsonb) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT current_user IS NOT NULL';
CREATE FUNCTION more(data jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$SELECT data || '{"more": 1}'$$;
REVOKE USAGE ON TYPE row_of FROM PUBLIC, regress_event_type_gone;
SELECT evstore.create_event_type('Fitted', "check" => 'row_of');
GRANT USAGE ON TYPE row_of TO PUBLIC;
SELECT evstore.create_event_type('Asked', "check" => 'valid');
SELECT evstore.create_event_type('Fitted', "check" => 'row_of');
SELECT version FROM evstore.append('a-1', 'Old', '{}');
SELECT evstore.create_upcaster('Old', 1, 'more');
RESET ROLE;
REASSIGN OWNED BY regress_event_type_gone TO regress_event_type_next;
DROP OWNED BY regress_event_type_gone;
-- The table is another's; the code goes on as its own, as long as that is there.
SELECT version FROM evstore.append('a-2', 'Fitted', '{"n": 1}');
\set VERBOSITY terse
DROP ROLE regress_event_type_gone;
SELECT version FROM evstore.append('a-2', 'Asked', '{}');
SELECT version FROM evstore.append('a-2', 'Fitted', '{"n": 1}');
SELECT data FROM evstore.read_stream('a-1');
-- Whoever owns the table drops it.
SET ROLE regress_event_type_next;
SELECT evstore.drop_event_type(type) FROM unnest('{Asked,Fitted}'::text[]) type;
SELECT evstore.drop_upcaster('Old', 1);
SELECT evstore.create_upcaster('Old', 1, 'more');
SELECT data FROM evstore.read_stream('a-1');
SELECT evstore.drop_upcaster('Old', 1);
RESET ROLE;
RESET search_path;
SET client_min_messages = warning;
SET evstore.maintenance = on;
DROP SCHEMA regress_event_type_owner CASCADE;
DROP ROLE regress_event_type_next;
