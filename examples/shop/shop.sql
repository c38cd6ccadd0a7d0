-- A shop from the first order to the last. Run it in a database that has evstore: psql -f examples/shop/shop.sql

\set ON_ERROR_STOP on
\set QUIET on
\set VERBOSITY terse
\pset footer off
\pset null (none)
SET client_min_messages = warning;
SET timezone = 'UTC';
\o /dev/null
\ir schema.sql
\o
\ir history.sql

\echo
\echo == An order of last year: as it was written, and as it is read
SELECT schema_version, data - 'lines' AS data FROM events WHERE stream = 'order-2';
SELECT schema_version, data - 'lines' AS data FROM evstore.read_stream('order-2');
\echo == What does not fit is not an event
\set ON_ERROR_STOP off
SELECT evstore.append('order-9', 'OrderPlaced', '{"customer": "cy", "lines": [{"sku": "tea", "quantity": 1}, {"sku": "cup", "quantity": "some"}]}') \g /dev/null
\echo :LAST_ERROR_SQLSTATE: :LAST_ERROR_MESSAGE
\set ON_ERROR_STOP on

\echo == An order, from the first command to the last
SELECT state->>'status' AS status, state->>'total' AS total, version FROM evstore.execute('order-3', 'PlaceOrder',
	'{"customer": "bob", "ship_to": {"region": "south"}, "lines": [{"sku": "tea", "quantity": 2, "price": 10.25}, {"sku": "cup", "quantity": 1, "price": 12.50}]}');
SELECT state->>'status' AS status, version FROM evstore.execute('order-3', 'CapturePayment', '{"amount": 33}');
SELECT state->>'status' AS status, version FROM evstore.execute('order-3', 'ShipOrder', '{"carrier": "road"}');

\echo == What the rules refuse
\set ON_ERROR_STOP off
SELECT evstore.execute('order-3', 'CancelOrder', '{"reason": "too late"}') \g /dev/null
\echo :LAST_ERROR_SQLSTATE: :LAST_ERROR_MESSAGE
SELECT evstore.execute('order-2', 'ShipOrder', '{"carrier": "road"}') \g /dev/null
\echo :LAST_ERROR_SQLSTATE: :LAST_ERROR_MESSAGE
SELECT evstore.execute('order-2', 'CapturePayment', '{"amount": 10}') \g /dev/null
\echo :LAST_ERROR_SQLSTATE: :LAST_ERROR_MESSAGE
SELECT evstore.execute('order-4', 'PlaceOrder', '{"customer": "cy", "ship_to": {"region": "north"}, "lines": []}') \g /dev/null
\echo :LAST_ERROR_SQLSTATE: :LAST_ERROR_MESSAGE
\set ON_ERROR_STOP on

\echo
\echo == More orders. One is paid and cancelled: one command, two events.
SELECT version FROM evstore.execute('order-4', 'PlaceOrder',
	'{"customer": "cy", "ship_to": {"region": "north"}, "lines": [{"sku": "pot", "quantity": 1, "price": 25}]}') \g /dev/null
SELECT version FROM evstore.execute('order-4', 'CapturePayment', '{"amount": 25}') \g /dev/null
SELECT version FROM evstore.execute('order-5', 'PlaceOrder',
	'{"customer": "bob", "ship_to": {"region": "north"}, "lines": [{"sku": "tea", "quantity": 1, "price": 10.25}]}') \g /dev/null
SELECT version FROM evstore.execute('order-5', 'CapturePayment', '{"amount": 10.25}') \g /dev/null
SELECT state->>'status' AS status, version, position AS token, (SELECT array_agg(type) FROM unnest(events)) AS events
FROM evstore.execute('order-5', 'CancelOrder', '{"reason": "changed my mind"}') \gset
\echo order-5 is :status at version :version, by :events

\echo
\echo == Read your own writes: the read tables have followed up to this very command
SELECT bool_and(evstore.wait_for(name, :token)) AS have_followed FROM evstore.projections;
SELECT order_id, customer, total, status FROM order_summary ORDER BY order_id;
SELECT order_id FROM fulfillment_queue ORDER BY order_id;
SELECT region, placed, cancelled, value FROM orders_by_region ORDER BY region;
SELECT customer, orders, cancelled FROM customer_dashboard ORDER BY customer;

\echo == What was order-1 on Tuesday at noon, and what is it now?
SELECT state->>'status' AS on_tuesday, state->>'paid' AS paid FROM evstore.load('order-1', as_of_time => '2025-06-03 12:00+00');
SELECT state->>'status' AS now, state->>'paid' AS paid, state->>'reason' AS reason FROM evstore.load('order-1');

\echo == The revenue is wrong: ann got her money back, and so did bob for one order. The bug is mended, the table built anew.
SELECT * FROM customer_revenue ORDER BY customer;
\o /dev/null
\ir rebuild.sql
\o
SELECT evstore.wait_for('customer_revenue') AS has_followed;
SELECT * FROM customer_revenue ORDER BY customer;
