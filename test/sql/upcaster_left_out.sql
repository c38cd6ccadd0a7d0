-- A stream whose last event an upcaster leaves out goes on from there.

CREATE SCHEMA regress_upcaster_left_out;
SET search_path = regress_upcaster_left_out;
SELECT evstore.create_event_table();
CREATE FUNCTION tally(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
	$$SELECT coalesce(state, '[]') || jsonb_build_array(e.type)$$;
CREATE AGGREGATE tally(evstore.event) (sfunc = tally, stype = jsonb);
SELECT evstore.create_aggregate('order', 'tally(jsonb, evstore.event)', snapshot_every => 2);
SELECT evstore.create_aggregate('cart', 'tally(evstore.event)');
CREATE FUNCTION place(state jsonb, args jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS
	$$SELECT evstore.new_event(args->>0, '{}')$$;
SELECT evstore.create_command('place', category, 'place') FROM unnest('{order,cart}'::text[]) category;
CREATE FUNCTION left_out(e evstore.event) RETURNS evstore.event LANGUAGE sql IMMUTABLE AS 'SELECT NULL::evstore.event';
SELECT evstore.create_upcaster('Ping', 1, 'left_out');
SELECT version FROM evstore.append('order-1', evstore.events('[{"type": "Placed", "data": {}}, {"type": "Ping", "data": {}}]'));
SELECT version FROM evstore.append('order-2', 'Ping', '{}');
SELECT version FROM evstore.append('cart-1', evstore.events('[{"type": "Placed", "data": {}}, {"type": "Ping", "data": {}}]'));
SELECT state, version, position = (SELECT max(position) FROM events WHERE stream = 'order-1') AS is_last FROM evstore.load('order-1');
SELECT state, version, position = (SELECT max(position) FROM events WHERE stream = 'order-2') AS is_last FROM evstore.load('order-2');
SELECT state, version, position = (SELECT max(position) FROM events WHERE stream = 'cart-1') AS is_last FROM evstore.load('cart-1');
SELECT state, version, position = (SELECT max(position) FROM events WHERE stream = 'order-1') AS is_last FROM evstore.load('order-1', as_of_version => 1);
-- What is expected is what there is.
SELECT state, version FROM evstore.execute('order-1', 'place', '["Placed"]');
SELECT state, version FROM evstore.execute('order-2', 'place', '["Placed"]');
SELECT state, version FROM evstore.execute('cart-1', 'place', '["Placed"]');
SELECT appended.version FROM evstore.load('order-1') loaded, evstore.append('order-1', 'Placed', '{}', expected_version => loaded.version) appended;
-- A command may decide on such an event, and be asked again.
SELECT state, version FROM evstore.execute('order-1', 'place', '["Ping"]', command_id => '00000000-0000-0000-0000-000000000001');
SELECT state, version FROM evstore.execute('order-1', 'place', '["Ping"]', command_id => '00000000-0000-0000-0000-000000000001');
SELECT state, version FROM evstore.execute('order-1', 'place', '["Placed"]');
RESET search_path;
SET client_min_messages = warning;
SET evstore.maintenance = on;
SELECT evstore.drop_command('place', category, 'regress_upcaster_left_out.events') FROM unnest('{order,cart}'::text[]) category;
SELECT evstore.drop_aggregate(category, 'regress_upcaster_left_out.events') FROM unnest('{order,cart}'::text[]) category;
SELECT evstore.drop_upcaster('Ping', 1, 'regress_upcaster_left_out.events');
DROP SCHEMA regress_upcaster_left_out CASCADE;
