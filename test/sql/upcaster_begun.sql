-- A query that began before an upcaster of events was declared never gives that data alone.

CREATE SCHEMA regress_upcaster_begun;
SET search_path = regress_upcaster_begun;
SELECT evstore.create_event_table();
SELECT version FROM evstore.append('a-1', evstore.events('[{"type": "Plain", "data": {}}, {"type": "Split", "data": {}}]'));
CREATE FUNCTION more(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"more": 1}'$$;
CREATE FUNCTION one(e evstore.event) RETURNS evstore.event LANGUAGE plpgsql IMMUTABLE AS 'BEGIN e.data := 1; RETURN e; END';
CREATE FUNCTION two(e evstore.event) RETURNS SETOF evstore.event LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN NEXT e; RETURN NEXT e; END';
SELECT evstore.create_upcaster('Plain', 1, 'more');
SELECT 'evstore._upcast_' || min(source) AS source FROM evstore._upcaster WHERE event_table = 'events'::regclass \gset
\set VERBOSITY terse
BEGIN;
DECLARE begun CURSOR FOR SELECT type, data FROM :source ORDER BY position;
SELECT evstore.create_upcaster('Split', 1, 'one');
FETCH ALL FROM begun;
ROLLBACK;
BEGIN;
DECLARE begun CURSOR FOR SELECT type, data FROM :source ORDER BY position;
SELECT evstore.create_upcaster('Split', 1, 'two');
FETCH ALL FROM begun;
ROLLBACK;
-- Nor can anybody.
SELECT evstore.create_upcaster('Split', 1, 'one');
SELECT evstore.create_upcaster('Split', 2, 'two');
SELECT evstore._upcast_data('events'::regclass, 0, 'Plain', 1, '{}');
SELECT evstore._upcast_data('events'::regclass, 0, 'Split', 1, '{"a": "bcdefghijklmnopqrstuvwxyz"}');
SELECT evstore._upcast_data('events'::regclass, 0, 'Split', 2, '{"a": "bcdefghijklmnopqrstuvwxyz"}');
SELECT type, data FROM evstore.read_stream('a-1');
SELECT evstore.drop_upcaster(type, from_version) FROM (SELECT * FROM evstore.upcasters WHERE event_table = 'events'::regclass ORDER BY from_version DESC) u;
RESET search_path;
SET client_min_messages = warning;
SET evstore.maintenance = on;
DROP SCHEMA regress_upcaster_begun CASCADE;
