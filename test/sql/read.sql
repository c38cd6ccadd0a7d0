-- Reading: one stream by version, all events by position, the version of a
-- stream; limits, filters, bad input.

CREATE SCHEMA regress_read;
SET search_path = regress_read;
SELECT evstore.create_event_table();
SELECT version FROM evstore.append('order-1', evstore.events('[
	{"type": "OrderPlaced", "data": 1}, {"type": "OrderPaid", "data": 2}, {"type": "OrderShipped", "data": 3}]'));
SELECT version FROM evstore.append('order-2', evstore.events('[
	{"type": "OrderPlaced", "data": 4}, {"type": "OrderPaid", "data": 5}]'));
SELECT version FROM evstore.append('customer-1', 'CustomerNamed', '6', '{"user": "ann"}', tags => '{vip}', id => '00000000-0000-0000-0000-000000000006');
SELECT version FROM evstore.append('order-1', 'OrderReturned', '7');
SELECT version FROM evstore.append('order', 'NoDash', '8');
SELECT version FROM evstore.append('-1', 'NoCategory', '9');
SELECT version FROM evstore.append('order-item-1', 'OrderPlaced', '10');

-- read_stream: the whole events, in version order.
SELECT version, schema_version, id, stream, type, data, metadata, tags FROM evstore.read_stream('order-1');
SELECT r = e AS whole
FROM evstore.read_stream('customer-1') r, events e WHERE e.stream = 'customer-1';
-- from a version on, that version included; at most so many
SELECT version FROM evstore.read_stream('order-1', 2);
SELECT version FROM evstore.read_stream('order-1', 2, 2);
SELECT version FROM evstore.read_stream('order-1', max_count => 1);
SELECT version FROM evstore.read_stream('order-1', max_count => 100);
SELECT version FROM evstore.read_stream('order-1', 4);
SELECT version FROM evstore.read_stream('order-1', 5);
SELECT version FROM evstore.read_stream('order-1', 1, 0);
-- backwards: from the end, or from a version down
SELECT version FROM evstore.read_stream('order-1', backwards => true);
SELECT version FROM evstore.read_stream('order-1', 3, backwards => true);
SELECT version FROM evstore.read_stream('order-1', 3, 2, true);
SELECT version FROM evstore.read_stream('order-1', max_count => 1, backwards => true);
SELECT version FROM evstore.read_stream('order-1', 9, 2, true);
SELECT version FROM evstore.read_stream('order-1', 9223372036854775807, 1, true);
-- NULL is the default
SELECT version FROM evstore.read_stream('order-1', NULL, NULL, NULL);
SELECT version FROM evstore.read_stream('order-1', 0, 1);
-- nothing there
SELECT version FROM evstore.read_stream('order-3');
SELECT version FROM evstore.read_stream('Order-1');
SELECT version FROM evstore.read_stream('order-');
-- wherever a set may stand
SELECT (evstore.read_stream('order-2')).version;
SELECT n, version, type FROM evstore.read_stream('order-1', backwards => true) WITH ORDINALITY e (position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags, n);
SELECT s, e.version FROM (VALUES ('order-1'), ('order-2'), ('order-3')) v (s) LEFT JOIN LATERAL evstore.read_stream(s, max_count => 2) e ON true;
SELECT version FROM evstore.read_stream('order-1') LIMIT 2;
DO $$
DECLARE
	e evstore.event;
BEGIN
	FOR e IN SELECT * FROM evstore.read_stream('order-1') LOOP
		RAISE NOTICE '% %', e.version, e.type;
		EXIT WHEN e.version = 2;
	END LOOP;
END
$$;
BEGIN;
DECLARE c CURSOR FOR SELECT version FROM evstore.read_stream('order-1');
FETCH 2 FROM c;
SELECT version FROM evstore.append('order-1', 'WhileReading', '11');
FETCH ALL FROM c;
ROLLBACK;

-- stream_version
SELECT evstore.stream_version('order-1') AS order_1, evstore.stream_version('order-2') AS order_2,
	evstore.stream_version('order-3') AS order_3, evstore.stream_version('order') AS no_dash;

-- read_events: all events after a position, in position order.
SELECT version, schema_version, id, stream, type, data, metadata, tags FROM evstore.read_events();
SELECT count(*) AS count, count(*) FILTER (WHERE r = e) AS whole FROM evstore.read_events() r JOIN events e USING (position);
SELECT position AS fifth FROM events WHERE data = '5' \gset
SELECT data FROM evstore.read_events(:fifth);
SELECT data FROM evstore.read_events(:fifth - 1, 1);
SELECT data FROM evstore.read_events(max_count => 2);
SELECT data FROM evstore.read_events(max_count => 0);
SELECT data FROM evstore.read_events((SELECT max(position) FROM events));
SELECT data FROM evstore.read_events(9223372036854775807);
-- of some types, of some categories (what stands before the first dash), of both
SELECT data, type FROM evstore.read_events(types => '{OrderPlaced}');
SELECT data, type FROM evstore.read_events(types => '{OrderPaid,OrderShipped,OrderPaid,NoSuch}');
SELECT data, type FROM evstore.read_events(types => '{orderplaced}');
SELECT data, stream FROM evstore.read_events(categories => '{order}');
SELECT data, stream FROM evstore.read_events(categories => '{customer,""}');
SELECT data, stream FROM evstore.read_events(categories => '{ord,order-1,Order}');
SELECT data, stream, type FROM evstore.read_events(0, 2, '{OrderPlaced,OrderPaid}', '{order}');
SELECT data, stream, type FROM evstore.read_events(:fifth, 10, '{OrderPlaced,OrderPaid}', '{order}');
SELECT data FROM evstore.read_events(types => NULL, categories => NULL, max_count => NULL) WHERE stream = 'order-2';
SELECT data FROM evstore.read_events(types => '{}');
SELECT data FROM evstore.read_events(categories => '{}');
SELECT data FROM evstore.read_events(NULL, 1);
SELECT data, type FROM evstore.read_events(types => '{CustomerNamed,NULL}');
SELECT data, stream FROM evstore.read_events(categories => '{NULL}');
SELECT (evstore.read_events(max_count => 2)).data;

-- One's own open events are past the safe position; read_stream sees them.
BEGIN;
SELECT version FROM evstore.append('order-2', 'OrderShipped', '12');
SELECT version, data FROM evstore.read_stream('order-2');
SELECT evstore.stream_version('order-2');
SELECT data FROM evstore.read_events(:fifth) WHERE stream = 'order-2';
SAVEPOINT s;
SELECT version FROM evstore.append('order-2', 'OrderReturned', '13');
ROLLBACK TO s;
SELECT evstore.stream_version('order-2');
COMMIT;
SELECT data FROM evstore.read_events(:fifth) WHERE stream = 'order-2';

-- Under repeatable read a stream reads well, and the log cannot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT version FROM evstore.read_stream('order-2', 3);
SELECT evstore.stream_version('order-2');
SELECT data FROM evstore.read_events();
\echo :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT data FROM evstore.read_events();
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT count(*) FROM evstore.read_events();
SELECT count(*) FROM evstore.read_stream('order-1');
SELECT evstore.stream_version('order-1');
COMMIT;

-- Which table
SELECT evstore.create_event_table('ledger');
SELECT version FROM evstore.append('order-1', 'Booked', '"ledger"', event_table => 'ledger');
SELECT data FROM evstore.read_stream('order-1', event_table => 'ledger');
SELECT data FROM evstore.read_events(event_table => 'ledger');
SELECT evstore.stream_version('order-1', 'ledger');
SET evstore.event_table = 'ledger';
SELECT data FROM evstore.read_stream('order-1');
SELECT data FROM evstore.read_events();
SELECT evstore.stream_version('order-1');
SELECT count(*) FROM evstore.read_stream('order-1', event_table => 'events');
RESET evstore.event_table;
-- with columns of one's own: the events read the same
ALTER TABLE ledger ADD dropped integer;
ALTER TABLE ledger ADD extra text DEFAULT 'more';
ALTER TABLE ledger DROP dropped;
SELECT version FROM evstore.append('order-1', 'Booked', '"with extra"', event_table => 'ledger');
SELECT version, stream, data, tags FROM evstore.read_stream('order-1', event_table => 'ledger');
SELECT version, stream, data, tags FROM evstore.read_events(event_table => 'ledger');

-- Bad input
SELECT * FROM evstore.read_stream(NULL);
\echo :SQLSTATE
SELECT * FROM evstore.read_stream('');
\echo :SQLSTATE
SELECT * FROM evstore.read_stream('order-1', -1);
\echo :SQLSTATE
SELECT * FROM evstore.read_stream('order-1', max_count => -1);
\echo :SQLSTATE
SELECT evstore.stream_version(NULL);
\echo :SQLSTATE
SELECT evstore.stream_version('');
\echo :SQLSTATE
SELECT * FROM evstore.read_events(-1);
\echo :SQLSTATE
SELECT * FROM evstore.read_events(max_count => -1);
\echo :SQLSTATE
CREATE TABLE plain (LIKE events);
SELECT * FROM evstore.read_stream('order-1', event_table => 'plain');
\echo :SQLSTATE
SELECT * FROM evstore.read_events(event_table => 'plain');
\echo :SQLSTATE
SELECT evstore.stream_version('order-1', 'plain');
\echo :SQLSTATE
SELECT * FROM evstore.read_stream('order-1', event_table => 'new_events');
\echo :SQLSTATE
SELECT * FROM evstore.read_stream('order-1', event_table => 0);
\echo :SQLSTATE
SET evstore.event_table = 'nowhere';
SELECT * FROM evstore.read_stream('order-1');
\echo :SQLSTATE
SELECT * FROM evstore.read_events();
\echo :SQLSTATE
SELECT evstore.stream_version('order-1');
\echo :SQLSTATE
RESET evstore.event_table;

-- Many events come in order, from both functions, both ways.
SELECT evstore.create_event_table('long');
INSERT INTO long (stream, type, data)
	SELECT 'long-' || n % 3, 'Numbered', to_jsonb(n) FROM generate_series(1, 30000) n;
SELECT count(*), bool_and(version = n) AS in_order
FROM evstore.read_stream('long-1', event_table => 'long') WITH ORDINALITY e (position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags, n);
SELECT count(*), bool_and(version = 10001 - n) AS in_order
FROM evstore.read_stream('long-1', backwards => true, event_table => 'long') WITH ORDINALITY e (position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags, n);
SELECT count(*), bool_and(data = to_jsonb(n)) AS in_order
FROM evstore.read_events(event_table => 'long') WITH ORDINALITY e (position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags, n);
-- page by page: each begins after the last one's end, none missed and none twice
CREATE FUNCTION pages(page bigint) RETURNS TABLE (pages bigint, events bigint, in_order boolean) LANGUAGE plpgsql AS
$$
DECLARE
	last bigint := 0;
	n bigint;
	page_last bigint;
BEGIN
	pages := 0;
	events := 0;
	in_order := true;
	LOOP
		SELECT count(*), max(position), in_order AND coalesce(bool_and(data = to_jsonb(events + o)), true)
		INTO n, page_last, in_order
		FROM evstore.read_events(last, page, event_table => 'long')
			WITH ORDINALITY e (position, version, recorded_at, schema_version, id, stream, type, data, metadata, tags, o);
		EXIT WHEN n = 0;
		pages := pages + 1;
		events := events + n;
		last := page_last;
	END LOOP;
	RETURN NEXT;
END
$$;
SELECT * FROM pages(1000);
SELECT * FROM pages(7777);

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_read CASCADE;
