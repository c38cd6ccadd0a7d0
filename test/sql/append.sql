-- evstore.append: what is stored, every meaning of expected_version, and how
-- the two typed forms take their arguments.

CREATE SCHEMA regress_append;
SET search_path = regress_append;
SELECT evstore.create_event_table();

-- One event. The answer is the version and position of the last event.
SELECT version, position > 0 AS has_position FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}');
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}');
SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{"total": 20}');
SELECT stream, version, type, data, metadata, id, tags, schema_version FROM events ORDER BY position;

-- The answer names the row, and version order is position order.
SELECT version AS answered_version, position AS answered_position FROM evstore.append('order-2', 'OrderReturned', '{}') \gset
SELECT stream, type, version = :answered_version AS same_version FROM events WHERE position = :answered_position;
SELECT bool_and(version = rank) AS in_order
FROM (SELECT version, row_number() OVER (PARTITION BY stream ORDER BY position) AS rank FROM events) r;

-- recorded_at is the time of the append, not the transaction's start.
BEGIN;
SELECT clock_timestamp() AS before \gset
SELECT version FROM evstore.append('clock-1', 'Ticked', '{}');
SELECT recorded_at >= :'before' AND recorded_at <= clock_timestamp() AS on_time,
	recorded_at > transaction_timestamp() AS after_start
FROM events WHERE stream = 'clock-1';
COMMIT;

-- Text form (untyped literals, text) and jsonb form store the same.
SELECT version FROM evstore.append('form-1', 'Same', '{"b": 1, "a": [1.50, null, "x"]}', '{"by": "text"}');
SELECT version FROM evstore.append('form-1', 'Same', '{"b": 1, "a": [1.50, null, "x"]}'::text, '{"by": "text"}'::text);
SELECT version FROM evstore.append('form-1', 'Same', '{"b": 1, "a": [1.50, null, "x"]}'::jsonb, '{"by": "text"}'::jsonb);
SELECT version FROM evstore.append('form-1', 'Same', jsonb_build_object('b', 1, 'a', jsonb_build_array(1.50, NULL, 'x')), '{"by": "text"}');
SELECT version FROM evstore.append(stream => 'form-1', type => 'Same',
	data => '{"b": 1, "a": [1.50, null, "x"]}', metadata => '{"by": "text"}');
PREPARE untyped AS SELECT version FROM evstore.append($1, $2, $3, $4);
EXECUTE untyped ('form-1', 'Same', '{"b": 1, "a": [1.50, null, "x"]}', '{"by": "text"}');
PREPARE typed (text, text, jsonb, jsonb) AS SELECT version FROM evstore.append($1, $2, $3, $4);
EXECUTE typed ('form-1', 'Same', '{"b": 1, "a": [1.50, null, "x"]}', '{"by": "text"}');
SELECT count(*), count(DISTINCT (data, metadata)) AS distinct_payloads, min(data::text) AS data
FROM events WHERE stream = 'form-1';

-- Any JSON value is data, the JSON null included.
SELECT version FROM evstore.append('json-1', 'Value', 'null');
SELECT version FROM evstore.append('json-1', 'Value', '1.50');
SELECT version FROM evstore.append('json-1', 'Value', '"text"');
SELECT version FROM evstore.append('json-1', 'Value', '[]');
SELECT version FROM evstore.append('json-1', 'Value', 'true'::jsonb, 'null'::jsonb);
SELECT version, data, metadata, metadata IS NULL AS no_metadata FROM events WHERE stream = 'json-1' ORDER BY version;

-- id, tags and metadata are kept as given.
SELECT version FROM evstore.append('order-3', 'OrderPlaced', '{}', '{"user": "ann"}',
	id => '00000000-0000-0000-0000-000000000003', tags => '{vip,"two words"}');
SELECT version FROM evstore.append('order-3', 'OrderShipped', '{}', tags => '{}');
SELECT version, id, tags, metadata FROM events WHERE stream = 'order-3' ORDER BY version;

-- Many events, in the array's order, with consecutive positions.
SELECT version AS order4_version, position - 3 AS order4_before
FROM evstore.append('order-4', ARRAY[
	('OrderPlaced', '{"total": 40}', '{"user": "bob"}', '00000000-0000-0000-0000-000000000004', '{a,b}', NULL)::evstore.new_event,
	('OrderPaid', '{"by": "card"}', NULL, NULL, NULL, NULL)::evstore.new_event,
	('OrderShipped', '[]', NULL, NULL, '{}', NULL)::evstore.new_event]) \gset
SELECT position - :order4_before AS nth, version, type, data, metadata, id, tags, schema_version
FROM events WHERE stream = 'order-4' ORDER BY position;
SELECT :order4_version AS answered_version;

-- One call's positions are consecutive even where it is larger than the range
-- of positions that is reserved at a time.
SELECT version AS bulk_version, position AS bulk_position
FROM evstore.append('bulk-1', (
	SELECT array_agg(('Numbered', to_jsonb(n), NULL, NULL, NULL, NULL)::evstore.new_event ORDER BY n)
	FROM generate_series(1, 5000) n)) \gset
SELECT :bulk_version AS answered_version, count(*), min(version), max(version),
	max(position) - min(position) + 1 AS positions,
	max(position) = :bulk_position AS answered_position,
	bool_and(data = to_jsonb(version)) AS in_order,
	bool_and(position - version = :bulk_position - 5000) AS consecutive
FROM events WHERE stream = 'bulk-1';
SELECT version, position > :bulk_position AS later FROM evstore.append('bulk-1', 'Numbered', '5001');

-- Several calls in one statement each see the one before.
SELECT version FROM generate_series(1, 3) n, evstore.append('loop-1', 'Turned', to_jsonb(n));
SELECT version, data FROM events WHERE stream = 'loop-1' ORDER BY position;
SELECT (a).version AS first, (b).version AS second
FROM (SELECT evstore.append('loop-2', 'Turned', '{}') AS a, evstore.append('loop-2', 'Turned', '{}') AS b OFFSET 0) two;
WITH first AS MATERIALIZED (SELECT version FROM evstore.append('loop-3', 'Turned', '{}', expected_version => 0)),
	second AS MATERIALIZED (SELECT a.version FROM first, evstore.append('loop-3', 'Turned', '{}', expected_version => first.version) a)
SELECT version FROM second;

-- From functions, in any language, and from triggers.
CREATE FUNCTION place(n integer) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
	answer record;
BEGIN
	SELECT * INTO answer FROM evstore.append('called-' || n, 'OrderPlaced', jsonb_build_object('n', n), expected_version => 0);
	answer := evstore.append('called-' || n, 'OrderShipped', '{}', expected_version => answer.version);
	RETURN answer.version;
END
$$;
SELECT place(1), place(2);
CREATE TABLE outside (name text);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM evstore.append('outside-' || NEW.name, TG_OP, to_jsonb(NEW));
	RETURN NULL;
END
$$;
CREATE TRIGGER tell AFTER INSERT ON outside FOR EACH ROW EXECUTE FUNCTION tell();
CREATE CONSTRAINT TRIGGER tell_at_commit AFTER INSERT ON outside DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION tell();
INSERT INTO outside VALUES ('a'), ('b');
SELECT stream, version, type, data FROM events WHERE stream LIKE 'outside-%' ORDER BY stream, version;

--
-- expected_version
--

-- NULL: no check, on a new stream or an old one.
SELECT version FROM evstore.append('expect-1', 'Step', '{}', expected_version => NULL);
SELECT version FROM evstore.append('expect-1', 'Step', '{}');

-- 0: the stream must not exist.
SELECT version FROM evstore.append('expect-2', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('expect-2', 'Step', '{}', expected_version => 0);
\echo :SQLSTATE

-- n: exactly n.
SELECT version FROM evstore.append('expect-2', 'Step', '{}', expected_version => 1);
SELECT version FROM evstore.append('expect-2', 'Step', '{}', expected_version => 1);
\echo :SQLSTATE
SELECT version FROM evstore.append('expect-2', 'Step', '{}', expected_version => 3);
\echo :SQLSTATE
SELECT version FROM evstore.append('expect-3', 'Step', '{}', expected_version => 1);
\echo :SQLSTATE
SELECT version FROM evstore.append('expect-2', 'Step', '{}', expected_version => 9223372036854775807);
\echo :SQLSTATE

-- -1: the stream must exist.
SELECT version FROM evstore.append('expect-2', 'Step', '{}', expected_version => -1);
SELECT version FROM evstore.append('expect-3', 'Step', '{}', expected_version => -1);
\echo :SQLSTATE

-- The same four meanings for many events.
SELECT version FROM evstore.append('expect-4', evstore.events('[{"type": "Step", "data": 1}, {"type": "Step", "data": 2}]'), 0);
SELECT version FROM evstore.append('expect-4', evstore.events('[{"type": "Step", "data": 3}, {"type": "Step", "data": 4}]'), 0);
\echo :SQLSTATE
SELECT version FROM evstore.append('expect-4', evstore.events('[{"type": "Step", "data": 3}, {"type": "Step", "data": 4}]'), 1);
\echo :SQLSTATE
SELECT version FROM evstore.append('expect-4', evstore.events('[{"type": "Step", "data": 3}, {"type": "Step", "data": 4}]'), 2);
SELECT version FROM evstore.append('expect-4', evstore.events('[{"type": "Step", "data": 5}]'), -1);
SELECT version FROM evstore.append('expect-5', evstore.events('[{"type": "Step", "data": 1}]'), -1);
\echo :SQLSTATE
SELECT version FROM evstore.append('expect-4', evstore.events('[{"type": "Step", "data": 6}]'));

-- What was refused is not there.
SELECT stream, count(*), max(version) AS version FROM events WHERE stream LIKE 'expect-%' GROUP BY stream ORDER BY stream;

-- A conflict can be caught; the transaction goes on.
DO $$
BEGIN
	PERFORM evstore.append('expect-2', 'Step', '{}', expected_version => 2);
EXCEPTION WHEN SQLSTATE 'VE001' THEN
	RAISE NOTICE 'caught %', SQLERRM;
	PERFORM evstore.append('expect-2', 'Retried', '{}', expected_version => evstore.stream_version('expect-2'));
END
$$;
SELECT version, type FROM events WHERE stream = 'expect-2' ORDER BY version;

-- A rolled-back version is given again, its position is not.
BEGIN;
SAVEPOINT s;
SELECT version, position AS rolled_back FROM evstore.append('undo-1', 'Step', '{}', expected_version => 0) \gset
ROLLBACK TO s;
SELECT version, position > :rolled_back AS new_position FROM evstore.append('undo-1', 'Step', '{}', expected_version => 0);
ROLLBACK;
SELECT version, position > :rolled_back AS new_position FROM evstore.append('undo-1', 'Step', '{}', expected_version => 0);

-- One transaction, several streams, in any isolation level.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT version FROM evstore.append('level-1', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('level-2', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('level-1', 'Step', '{}', expected_version => 1);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT version FROM evstore.append('level-1', 'Step', '{}', expected_version => 2);
SELECT version FROM evstore.append('level-1', 'Step', '{}');
COMMIT;

-- Streams are told apart to the byte.
SELECT version FROM evstore.append('Case-1', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('case-1', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('case-1 ', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('case-', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('case-10', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append(' ', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('-', 'Step', '{}', expected_version => 0);

-- Unicode, in names and payloads; é as one and as two code points.
SELECT version FROM evstore.append(U&'caf\00E9-1', U&'\00C9v\00E9nement', '{"emoji": "😀", "escaped": "\u00e9"}', expected_version => 0);
SELECT version FROM evstore.append(U&'cafe\0301-1', 'Step', '{}', expected_version => 0);
SELECT version FROM evstore.append('注文-1', '受注', '{"名前": "山田"}', '{"بواسطة": "x"}', tags => '{日本,ñ}');
SELECT stream, version, type, data, metadata, tags FROM events
WHERE stream LIKE 'caf%' AND stream NOT LIKE 'case%' OR stream LIKE '注文%' ORDER BY position;

-- Large payloads: a megabyte that compresses, one that does not, and several in one call.
SELECT version FROM evstore.append('large-1', 'Large', jsonb_build_object('text', repeat('abcdefgh', 131072)));
SELECT string_agg(md5(n::text), '') AS noise FROM generate_series(1, 32768) n \gset
SELECT version FROM evstore.append('large-1', 'Large', to_jsonb(:'noise'::text), to_jsonb(:'noise'::text));
SELECT version FROM evstore.append('large-1', 'Large', '"' || :'noise' || '"');
SELECT version FROM evstore.append('large-1', (
	SELECT array_agg(('Large', to_jsonb(:'noise' || n), NULL, NULL, NULL, NULL)::evstore.new_event ORDER BY n)
	FROM generate_series(1, 3) n));
SELECT version, length(data::text) AS length, data = to_jsonb(:'noise'::text) AS same, metadata = data AS metadata_same
FROM events WHERE stream = 'large-1' ORDER BY version;

--
-- The event table
--

-- The setting evstore.event_table names the default; search_path applies.
SHOW evstore.event_table;
CREATE SCHEMA regress_append_tenant;
SELECT evstore.create_event_table('ledger'), evstore.create_event_table('regress_append_tenant.events'),
	evstore.create_event_table('"Odd name"');
SET evstore.event_table = 'ledger';
SELECT version FROM evstore.append('table-1', 'Step', '"by setting"');
SET evstore.event_table = 'regress_append_tenant.events';
SELECT version FROM evstore.append('table-1', 'Step', '"by qualified setting"');
SET evstore.event_table = '"Odd name"';
SELECT version FROM evstore.append('table-1', 'Step', '"by quoted setting"');
SELECT version FROM evstore.append('table-1', 'Step', '"by argument"', event_table => 'events');
SELECT version FROM evstore.append('table-1', evstore.events('[{"type": "Step", "data": "array by argument"}]'), event_table => 'events');
SELECT version FROM evstore.append('table-1', 'Step', '"NULL is the setting"', event_table => NULL);
RESET evstore.event_table;
SELECT version FROM evstore.append('table-1', 'Step', '"by default"');
SELECT tableoid::regclass, version, data FROM (
	SELECT tableoid, * FROM events UNION ALL SELECT tableoid, * FROM ledger
	UNION ALL SELECT tableoid, * FROM "Odd name" UNION ALL SELECT tableoid, * FROM regress_append_tenant.events) e
WHERE stream = 'table-1' ORDER BY position;

-- A schema per tenant: the same prepared call follows search_path.
PREPARE tenant AS SELECT version FROM evstore.append('tenant-1', 'Step', $1, expected_version => $2);
SET search_path = regress_append_tenant;
EXECUTE tenant ('"tenant"', 0);
EXECUTE tenant ('"tenant"', 1);
SET search_path = regress_append;
EXECUTE tenant ('"home"', 0);
SET search_path = regress_append_tenant, regress_append;
EXECUTE tenant ('"tenant"', 2);
SET search_path = regress_append;
SELECT 'home' AS place, version, data FROM events WHERE stream = 'tenant-1'
UNION ALL SELECT 'tenant', version, data FROM regress_append_tenant.events WHERE stream = 'tenant-1'
ORDER BY 1, 2;

-- A table that goes and comes back under the same name is the new table.
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('ledger');
RESET evstore.maintenance;
SET evstore.event_table = 'ledger';
SELECT version FROM evstore.append('table-2', 'Step', '{}');
\echo :SQLSTATE
SELECT evstore.create_event_table('ledger');
SELECT version FROM evstore.append('table-2', 'Step', '{}', expected_version => 0);
RESET evstore.event_table;
SELECT count(*) FROM ledger;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append, regress_append_tenant CASCADE;
