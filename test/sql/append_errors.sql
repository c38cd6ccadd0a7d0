-- evstore.append: every kind of bad input has its own error, and nothing is
-- written.

\set SHOW_CONTEXT never
CREATE SCHEMA regress_append_errors;
SET search_path = regress_append_errors;
SELECT evstore.create_event_table();
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}', id => '00000000-0000-0000-0000-000000000001');
SELECT count(*) AS events_before, max(position) AS position_before FROM events \gset

-- stream
SELECT version FROM evstore.append(NULL, 'OrderShipped', '{}');
\echo :SQLSTATE
SELECT version FROM evstore.append('', 'OrderShipped', '{}');
\echo :SQLSTATE
SELECT version FROM evstore.append(NULL, evstore.events('[{"type": "OrderShipped", "data": {}}]'));
\echo :SQLSTATE
SELECT version FROM evstore.append('', evstore.events('[{"type": "OrderShipped", "data": {}}]'));
\echo :SQLSTATE
-- longer than an index can hold
SELECT version FROM evstore.append((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n), 'OrderPlaced', '{}');
\echo :SQLSTATE

-- type
SELECT version FROM evstore.append('order-1', NULL, '{}');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', '', '{}');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', '', '{}'::jsonb);
\echo :SQLSTATE

-- tags
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', tags => '{a,NULL}');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', tags => '{""}');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', tags => '{{a},{b}}');
\echo :SQLSTATE
INSERT INTO events (stream, type, data, tags) VALUES ('order-1', 'OrderShipped', '{}', '{a,NULL}');
\echo :SQLSTATE

-- data and metadata
SELECT version FROM evstore.append('order-1', 'OrderShipped', NULL);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', NULL::jsonb);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', 'shipped');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{"total": 10');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{} {}');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '"\u0000"');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', 'by ann');
\echo :SQLSTATE

-- the array of events
SELECT version FROM evstore.append('order-1', NULL::evstore.new_event[]);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', '{}'::evstore.new_event[]);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', evstore.events('[]'));
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', ARRAY[NULL]::evstore.new_event[]);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), NULL]::evstore.new_event[]);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), (NULL, '{}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), ('', '{}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), ('OrderShipped', NULL, NULL, NULL, NULL, NULL)]::evstore.new_event[]);
\echo :SQLSTATE
-- the context tells which event it is
\set SHOW_CONTEXT errors
SELECT version FROM evstore.append('order-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), ('', '{}', NULL, NULL, NULL, NULL)]::evstore.new_event[]);
\set SHOW_CONTEXT never
SELECT version FROM evstore.append('order-1', ARRAY[[('OrderPaid', '{}', NULL, NULL, NULL, NULL)], [('OrderShipped', '{}', NULL, NULL, NULL, NULL)]]::evstore.new_event[]);
\echo :SQLSTATE

-- expected_version
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', expected_version => -2);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', evstore.events('[{"type": "OrderShipped", "data": {}}]'), -9223372036854775808);
\echo :SQLSTATE

-- event_table
CREATE TABLE plain (LIKE events);
CREATE VIEW seen AS SELECT * FROM events;
CREATE SEQUENCE counter;
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 'plain');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 'seen');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 'new_events');
\echo :SQLSTATE
-- (of an index, each version of PostgreSQL says it in its own words)
\set VERBOSITY sqlstate
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 'events_pkey');
\set VERBOSITY default
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 'counter');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 'pg_catalog.pg_class');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 'nowhere');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', event_table => 0);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', evstore.events('[{"type": "OrderShipped", "data": {}}]'), event_table => 'plain');
\echo :SQLSTATE
SET evstore.event_table = 'nowhere';
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
\echo :SQLSTATE
SET evstore.event_table = 'plain';
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
\echo :SQLSTATE
SET evstore.event_table = 'a.b.c.d';
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
\echo :SQLSTATE
SET evstore.event_table = '';
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
\echo :SQLSTATE
RESET evstore.event_table;
SET search_path = '';
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
\echo :SQLSTATE
SET search_path = regress_append_errors;

-- a transaction that may not write
BEGIN READ ONLY;
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT version FROM evstore.append('order-1', evstore.events('[{"type": "OrderShipped", "data": {}}]'));
\echo :SQLSTATE
ROLLBACK;

-- In a transaction, the failed call alone is undone, whatever came before it.
BEGIN;
SELECT version FROM evstore.append('undone-1', 'OrderPlaced', '{}');
SAVEPOINT s;
SELECT version FROM evstore.append('undone-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), NULL]::evstore.new_event[]);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT version FROM evstore.append('undone-1', 'OrderPaid', '{}', expected_version => 1);
SELECT version, type FROM events WHERE stream = 'undone-1' ORDER BY version;
ROLLBACK;

-- An id stands once in a table, whatever the stream.
SELECT version FROM evstore.append('order-9', 'OrderPlaced', '{}', id => '00000000-0000-0000-0000-000000000001');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-9', ARRAY[
	('OrderPlaced', '{}', NULL, '00000000-0000-0000-0000-000000000009', NULL, NULL),
	('OrderPaid', '{}', NULL, '00000000-0000-0000-0000-000000000009', NULL, NULL)]::evstore.new_event[]);
\echo :SQLSTATE

-- Nothing at all was written.
SELECT count(*) - :events_before AS new_events, max(position) - :position_before AS new_positions FROM events;
SELECT count(*) FROM plain;
-- and the next append goes on as if nothing had been
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}', expected_version => 1);
SELECT version FROM evstore.append('order-9', 'OrderPlaced', '{}', expected_version => 0);

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append_errors CASCADE;
