-- Views of others over an event table are no business of its upcasters.

CREATE SCHEMA regress_upcaster_views;
CREATE SCHEMA regress_upcaster_strange;
CREATE ROLE regress_upcaster_table;
CREATE ROLE regress_upcaster_later;
CREATE ROLE regress_upcaster_stranger;
GRANT USAGE, CREATE ON SCHEMA regress_upcaster_views TO regress_upcaster_table, regress_upcaster_later;
GRANT USAGE ON SCHEMA regress_upcaster_views TO regress_upcaster_stranger;
GRANT CREATE ON SCHEMA regress_upcaster_strange TO regress_upcaster_stranger;
GRANT USAGE ON SCHEMA regress_upcaster_strange TO PUBLIC;
SET ROLE regress_upcaster_table;
SET search_path = regress_upcaster_views;
SELECT evstore.create_event_table();
CREATE FUNCTION more(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"more": 1}'$$;
SET ROLE regress_upcaster_stranger;
CREATE VIEW regress_upcaster_strange.rows AS SELECT e AS row, e.tableoid, e.data FROM events e WHERE position > evstore._batch_from();
CREATE TABLE regress_upcaster_strange.other (n integer);
CREATE RULE also AS ON INSERT TO regress_upcaster_strange.other DO ALSO SELECT FROM events WHERE position > evstore._batch_from();
SELECT pg_get_viewdef('regress_upcaster_strange.rows') AS before \gset
-- The batch view follows the table, also to another owner.
RESET ROLE;
ALTER TABLE events OWNER TO regress_upcaster_later;
SET ROLE regress_upcaster_later;
SELECT evstore.create_upcaster('Old', 1, 'more');
SELECT pg_get_viewdef('new_events') LIKE '%evstore.\_upcast\_%' AS upcast;
SELECT pg_get_viewdef('regress_upcaster_strange.rows') = :'before' AS same;
SELECT evstore.drop_upcaster('Old', 1);
SELECT pg_get_viewdef('new_events') LIKE '%evstore.\_upcast\_%' AS upcast;
-- Nor does it matter whose the shards are that read the table. (Which projections have applied something is the workers' affair.)
SET client_min_messages = warning;
RESET ROLE;
GRANT SELECT ON events, new_events TO regress_upcaster_stranger;
SET ROLE regress_upcaster_stranger;
CREATE TABLE regress_upcaster_strange.seen (data jsonb);
SELECT evstore.create_projection('regress_upcaster_shards', shards => 2, event_table => 'events',
	statement => 'INSERT INTO regress_upcaster_strange.seen SELECT data FROM new_events');
RESET ROLE;
SET ROLE regress_upcaster_later;
SELECT evstore.create_upcaster('Old', 1, 'more');
SELECT count(*) FROM pg_views WHERE schemaname LIKE 'evstore\_shards\_%' AND definition LIKE '%evstore.\_upcast\_%';
SELECT evstore.drop_upcaster('Old', 1);
SELECT count(*) FROM pg_views WHERE schemaname LIKE 'evstore\_shards\_%' AND definition LIKE '%evstore.\_upcast\_%';
RESET ROLE;
SELECT evstore.drop_projection('regress_upcaster_shards');
RESET client_min_messages;
SET ROLE regress_upcaster_later;
-- The owner's own must be such that they can be read from another relation.
CREATE VIEW mine AS SELECT data FROM events e WHERE position > evstore._batch_from() AND e IS NOT NULL;
SELECT evstore.create_upcaster('Old', 1, 'more');
CREATE OR REPLACE VIEW mine AS SELECT data FROM events WHERE position > evstore._batch_from() AND tableoid > 0;
SELECT evstore.create_upcaster('Old', 1, 'more');
CREATE OR REPLACE VIEW mine AS SELECT data FROM events WHERE position > evstore._batch_from();
SELECT evstore.create_upcaster('Old', 1, 'more');
SELECT pg_get_viewdef('mine') LIKE '%evstore.\_upcast\_%' AS upcast;
SELECT evstore.drop_upcaster('Old', 1);
RESET ROLE;
RESET search_path;
SET client_min_messages = warning;
SET evstore.maintenance = on;
DROP SCHEMA regress_upcaster_views, regress_upcaster_strange CASCADE;
DROP ROLE regress_upcaster_table, regress_upcaster_later, regress_upcaster_stranger;
