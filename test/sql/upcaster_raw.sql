-- evstore.raw is about what the session reads itself, not what is read for it.

CREATE SCHEMA regress_upcaster_raw;
SET search_path = regress_upcaster_raw;
SELECT evstore.create_event_table();
CREATE FUNCTION more(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"more": 1}'$$;
CREATE TABLE history (position bigint, stream jsonb);
CREATE FUNCTION remember(e evstore.event) RETURNS void LANGUAGE sql AS
	$$INSERT INTO history SELECT e.position, jsonb_agg(data ORDER BY version) FROM evstore.read_stream(e.stream)$$;
SELECT evstore.create_projection('history', handler => 'remember', read_table => 'history', mode => 'inline');
CREATE FUNCTION tally(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE sql STABLE AS
	$$SELECT jsonb_agg(data ORDER BY version) FROM evstore.read_stream(e.stream)$$;
SELECT evstore.create_aggregate('a', 'tally');
CREATE FUNCTION decide(state jsonb, args jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS
	$$SELECT evstore.new_event('Decided', jsonb_agg(data ORDER BY version)) FROM evstore.read_stream(args->>0)$$;
SELECT evstore.create_command('go', 'a', 'decide');
SELECT evstore.create_upcaster('Old', 1, 'more');
SET evstore.raw = on;
SELECT version FROM evstore.append('a-1', 'Old', '{"n": 1}');
SELECT stream FROM history ORDER BY position;
SELECT state FROM evstore.load('a-1');
SELECT state FROM evstore.execute('a-1', 'go', '["a-1"]');
SELECT data FROM evstore.read_stream('a-1');
RESET evstore.raw;
SELECT evstore.drop_projection('history');
SELECT evstore.drop_command('go', 'a');
SELECT evstore.drop_aggregate('a');
SELECT evstore.drop_upcaster('Old', 1);
RESET search_path;
SET client_min_messages = warning;
SET evstore.maintenance = on;
DROP SCHEMA regress_upcaster_raw CASCADE;
