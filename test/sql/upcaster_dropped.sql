-- Upcasters whose functions were dropped by force can go, one after the other.

CREATE SCHEMA regress_upcaster_dropped;
SET search_path = regress_upcaster_dropped;
\set SHOW_CONTEXT never
SELECT evstore.create_event_table();
SELECT version FROM evstore.append('a-1', evstore.events('[
	{"type": "First", "data": {}}, {"type": "Second", "data": {}}, {"type": "Third", "data": {}}]'));
CREATE SCHEMA regress_upcaster_lost;
CREATE FUNCTION regress_upcaster_lost.one(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"one": true}'$$;
CREATE FUNCTION regress_upcaster_lost.two(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"two": true}'$$;
CREATE FUNCTION kept(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"kept": true}'$$;
SELECT evstore.create_upcaster('First', 1, 'regress_upcaster_lost.one');
SELECT evstore.create_upcaster('First', 2, 'regress_upcaster_lost.two');
SELECT evstore.create_upcaster('Second', 1, 'regress_upcaster_lost.two');
SELECT evstore.create_upcaster('Third', 1, 'kept');
SET client_min_messages = warning;
DROP SCHEMA regress_upcaster_lost CASCADE;
RESET client_min_messages;
SELECT type, from_version, function FROM evstore.upcasters ORDER BY type, from_version;
SELECT data FROM evstore.read_events(types => '{First}');
SELECT data FROM evstore.read_events(types => '{Second}');
SELECT data FROM evstore.read_events(types => '{Third}');
-- What is there can still be changed.
SELECT evstore.create_upcaster('Third', 2, 'kept');
SELECT evstore.drop_upcaster('Second', 1);
SELECT evstore.drop_upcaster('First', 2);
SELECT data FROM evstore.read_events(types => '{First}');
SELECT evstore.drop_upcaster('First', 1);
SELECT type, schema_version, data FROM evstore.read_events();
SELECT evstore.drop_upcaster('Third', 2);
SELECT evstore.drop_upcaster('Third', 1);
RESET search_path;
SET client_min_messages = warning;
SET evstore.maintenance = on;
DROP SCHEMA regress_upcaster_dropped CASCADE;
