-- A session that does not use the indexes of the catalog knows the same shapes.

CREATE SCHEMA regress_event_type_order;
SET search_path = regress_event_type_order;
SELECT evstore.create_event_table();
CREATE FUNCTION never(data jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE FUNCTION more(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"more": 1}'$$;
SELECT evstore.create_event_type(type, "check" => 'never') FROM unnest('{M,Z,A,C}'::text[]) type;
SELECT version FROM evstore.append('a-1', 'N', '{}');
SELECT evstore.create_upcaster(type, 1, 'more') FROM unnest('{P,N,O}'::text[]) type;
\c -reuse-previous=on "options='-c ignore_system_indexes=on'"
SET search_path = regress_event_type_order;
SELECT version FROM evstore.append('a-1', 'A', '{}');
SELECT version FROM evstore.append('a-1', 'Z', '{}');
SELECT data FROM evstore.read_stream('a-1');
\c -reuse-previous=on "options='-c ignore_system_indexes=off'"
SET client_min_messages = warning;
SET evstore.maintenance = on;
SELECT evstore.drop_upcaster(type, 1, 'regress_event_type_order.events') FROM unnest('{P,N,O}'::text[]) type;
SELECT evstore.drop_event_type(type, 1, 'regress_event_type_order.events') FROM unnest('{M,Z,A,C}'::text[]) type;
DROP SCHEMA regress_event_type_order CASCADE;
