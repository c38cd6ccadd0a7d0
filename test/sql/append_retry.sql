-- evstore.append with ids: a retry of what was already written succeeds with
-- the old answer, whenever it comes; everything half the same is an error.

CREATE SCHEMA regress_append_retry;
SET search_path = regress_append_retry;
SELECT evstore.create_event_table();

-- One event.
SELECT version, position AS first_position
FROM evstore.append('order-1', 'OrderPlaced', '{}', expected_version => 0, id => '00000000-0000-0000-0000-000000000001') \gset
SELECT version, position = :first_position AS same_position
FROM evstore.append('order-1', 'OrderPlaced', '{}', expected_version => 0, id => '00000000-0000-0000-0000-000000000001');
-- also when the stream has gone on since
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', expected_version => 1);
SELECT version, position = :first_position AS same_position
FROM evstore.append('order-1', 'OrderPlaced', '{}', expected_version => 0, id => '00000000-0000-0000-0000-000000000001');
-- at another version it is a conflict
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', expected_version => 1, id => '00000000-0000-0000-0000-000000000001');
\echo :SQLSTATE
-- and so is another id, or none
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', expected_version => 0, id => '00000000-0000-0000-0000-000000000002');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', expected_version => 0);
\echo :SQLSTATE

-- Many events: all the same, some the same, none the same.
SELECT version, position AS last_position FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPlaced", "data": {}, "id": "00000000-0000-0000-0000-000000000021"},
	{"type": "OrderPaid", "data": {}, "id": "00000000-0000-0000-0000-000000000022"},
	{"type": "OrderShipped", "data": {}, "id": "00000000-0000-0000-0000-000000000023"}]'), 0) \gset
SELECT version, position = :last_position AS same_position FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPlaced", "data": {}, "id": "00000000-0000-0000-0000-000000000021"},
	{"type": "OrderPaid", "data": {}, "id": "00000000-0000-0000-0000-000000000022"},
	{"type": "OrderShipped", "data": {}, "id": "00000000-0000-0000-0000-000000000023"}]'), 0);
-- the first two alone: the answer is the version and position of the second
SELECT version, position = :last_position - 1 AS its_position FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPlaced", "data": {}, "id": "00000000-0000-0000-0000-000000000021"},
	{"type": "OrderPaid", "data": {}, "id": "00000000-0000-0000-0000-000000000022"}]'), 0);
-- the last two, at their version
SELECT version, position = :last_position AS same_position FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPaid", "data": {}, "id": "00000000-0000-0000-0000-000000000022"},
	{"type": "OrderShipped", "data": {}, "id": "00000000-0000-0000-0000-000000000023"}]'), 1);
-- one is another
SELECT version FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPlaced", "data": {}, "id": "00000000-0000-0000-0000-000000000021"},
	{"type": "OrderPaid", "data": {}, "id": "00000000-0000-0000-0000-0000000000ff"},
	{"type": "OrderShipped", "data": {}, "id": "00000000-0000-0000-0000-000000000023"}]'), 0);
\echo :SQLSTATE
-- one has no id
SELECT version FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPlaced", "data": {}, "id": "00000000-0000-0000-0000-000000000021"},
	{"type": "OrderPaid", "data": {}},
	{"type": "OrderShipped", "data": {}, "id": "00000000-0000-0000-0000-000000000023"}]'), 0);
\echo :SQLSTATE
-- one more than is there
SELECT version FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPaid", "data": {}, "id": "00000000-0000-0000-0000-000000000022"},
	{"type": "OrderShipped", "data": {}, "id": "00000000-0000-0000-0000-000000000023"},
	{"type": "OrderReturned", "data": {}, "id": "00000000-0000-0000-0000-000000000024"}]'), 1);
\echo :SQLSTATE
-- in another order
SELECT version FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPaid", "data": {}, "id": "00000000-0000-0000-0000-000000000022"},
	{"type": "OrderPlaced", "data": {}, "id": "00000000-0000-0000-0000-000000000021"}]'), 0);
\echo :SQLSTATE
-- none
SELECT version FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPlaced", "data": {}, "id": "00000000-0000-0000-0000-0000000000fe"},
	{"type": "OrderPaid", "data": {}, "id": "00000000-0000-0000-0000-0000000000ff"}]'), 0);
\echo :SQLSTATE

-- Nothing was written by a retry, and the stream goes on.
SELECT stream, version, type, id FROM events ORDER BY position;
SELECT version FROM evstore.append('order-2', 'OrderReturned', '{}', expected_version => 3, id => '00000000-0000-0000-0000-000000000024');

-- In the very transaction that wrote it, under every isolation level.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT version FROM evstore.append('order-3', 'OrderPlaced', '{}', expected_version => 0, id => '00000000-0000-0000-0000-000000000031');
SELECT version FROM evstore.append('order-3', 'OrderPlaced', '{}', expected_version => 0, id => '00000000-0000-0000-0000-000000000031');
COMMIT;
SELECT count(*) FROM events WHERE stream = 'order-3';

-- A retry adds nothing, and keeps no condition waiting.
BEGIN;
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', expected_version => 0, id => '00000000-0000-0000-0000-000000000001');
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append_retry CASCADE;
