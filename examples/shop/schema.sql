-- A shop: what an order is, what may be done to it, and the tables that are read.
-- Plain SQL, so that any client can run it, as the owner of a database that has evstore.

CREATE SCHEMA shop;
SET search_path = shop;
SELECT evstore.create_event_table('events');

-- ---------------------------------------------------------------------------------------------------------------------
-- Events that changed shape: an order had a region once, and now has somewhere to be shipped to, of which that is part.
-- The orders of last year are read in the new shape, and everything below knows that one only.
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION region_to_ship_to(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT data - 'region' || jsonb_build_object('ship_to', jsonb_build_object('region', data->'region'))
$$;
SELECT evstore.create_upcaster('OrderPlaced', 1, 'region_to_ship_to');
SELECT evstore.create_upcaster('OrderCancelled', 1, 'region_to_ship_to');

-- From now on the new shape is what is meant, and an order that is placed has to fit it.
CREATE DOMAIN quantity AS integer NOT NULL CHECK (VALUE > 0);
CREATE TYPE order_line AS (sku text, quantity quantity, price numeric);
CREATE TYPE ship_to AS (region text, city text);
CREATE TYPE order_placed AS (customer text, ship_to ship_to, lines order_line[], total numeric);
SELECT evstore.create_event_type('OrderPlaced', 2, 'order_placed');
SELECT evstore.create_event_type('OrderCancelled', 2);

-- ---------------------------------------------------------------------------------------------------------------------
-- The aggregate: how the state of an order follows from its events
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION apply_order(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE e.type
		WHEN 'OrderPlaced'     THEN e.data || '{"status": "placed", "paid": 0}'
		WHEN 'PaymentCaptured' THEN state || jsonb_build_object('status', 'paid', 'paid', e.data->'amount')
		WHEN 'OrderShipped'    THEN state || jsonb_build_object('status', 'shipped', 'carrier', e.data->'carrier')
		WHEN 'OrderCancelled'  THEN state || jsonb_build_object('status', 'cancelled', 'reason', e.data->'reason')
		WHEN 'PaymentRefunded' THEN state || '{"paid": 0}'
		ELSE state END
$$;
SELECT evstore.create_aggregate('order', 'apply_order', '{"status": "none"}');

-- ---------------------------------------------------------------------------------------------------------------------
-- The commands, each with its rule
-- ---------------------------------------------------------------------------------------------------------------------

-- Refuse, in the shop's own words.
CREATE FUNCTION refuse(reason text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '%', reason USING ERRCODE = 'SHOP1';
END $$;

-- An order is placed once, and has lines. Its total is computed here, and is a fact from then on: prices change, it does not.
CREATE FUNCTION place_order(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
DECLARE
	total numeric;
BEGIN
	IF state->>'status' <> 'none' THEN
		PERFORM refuse('the order has been placed before');
	END IF;
	SELECT sum((line->>'quantity')::integer * (line->>'price')::numeric) INTO total
	FROM jsonb_array_elements(command->'lines') line WHERE (line->>'quantity')::integer > 0;
	IF total IS NULL THEN
		PERFORM refuse('an order needs at least one line');
	END IF;
	RETURN NEXT evstore.new_event('OrderPlaced', command || jsonb_build_object('total', total));
END $$;

-- An order is paid once, in full. The event says whose money it is, since those who read it do not know the order.
CREATE FUNCTION capture_payment(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF state->>'status' <> 'placed' THEN
		PERFORM refuse(format('cannot take a payment for an order that is %s', state->>'status'));
	ELSIF (command->>'amount')::numeric IS DISTINCT FROM (state->>'total')::numeric THEN
		PERFORM refuse(format('the payment is %s, and the order costs %s', command->>'amount', state->>'total'));
	END IF;
	RETURN NEXT evstore.new_event('PaymentCaptured', command || jsonb_build_object('customer', state->'customer'));
END $$;

-- What is shipped has been paid.
CREATE FUNCTION ship_order(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF state->>'status' <> 'paid' THEN
		PERFORM refuse(format('cannot ship an order that is %s', state->>'status'));
	END IF;
	RETURN NEXT evstore.new_event('OrderShipped', command);
END $$;

-- What is on its way cannot be cancelled. What was paid is paid back: one command, two events.
CREATE FUNCTION cancel_order(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF state->>'status' NOT IN ('placed', 'paid') THEN
		PERFORM refuse(format('cannot cancel an order that is %s', state->>'status'));
	END IF;
	RETURN NEXT evstore.new_event('OrderCancelled', command || jsonb_build_object('customer', state->'customer', 'ship_to', state->'ship_to',
		'total', state->'total'));
	IF state->>'status' = 'paid' THEN
		RETURN NEXT evstore.new_event('PaymentRefunded', jsonb_build_object('customer', state->'customer', 'amount', state->'paid'));
	END IF;
END $$;

SELECT evstore.create_command('PlaceOrder', 'order', 'place_order');
SELECT evstore.create_command('CapturePayment', 'order', 'capture_payment');
SELECT evstore.create_command('ShipOrder', 'order', 'ship_order');
SELECT evstore.create_command('CancelOrder', 'order', 'cancel_order');

-- ---------------------------------------------------------------------------------------------------------------------
-- The read tables
-- ---------------------------------------------------------------------------------------------------------------------

-- One row for each order: a statement over the events of a batch. A later fact of an order overwrites an earlier one.
CREATE TABLE order_summary (order_id text PRIMARY KEY, customer text, total numeric, status text, changed_at timestamptz);
SELECT evstore.create_projection('order_summary', read_table => 'order_summary', statement => $$
	INSERT INTO order_summary AS old
	SELECT stream,
		max(data->>'customer') FILTER (WHERE type = 'OrderPlaced'),
		max((data->>'total')::numeric) FILTER (WHERE type = 'OrderPlaced'),
		evstore.last(CASE type WHEN 'OrderPlaced' THEN 'placed' WHEN 'PaymentCaptured' THEN 'paid'
			WHEN 'OrderShipped' THEN 'shipped' WHEN 'OrderCancelled' THEN 'cancelled' END, position)
			FILTER (WHERE type <> 'PaymentRefunded'),
		max(recorded_at)
	FROM new_events
	WHERE stream LIKE 'order-%'
	GROUP BY stream
	ON CONFLICT (order_id) DO UPDATE SET
		customer = coalesce(excluded.customer, old.customer),
		total = coalesce(excluded.total, old.total),
		status = coalesce(excluded.status, old.status),
		changed_at = excluded.changed_at
$$);

-- The orders that wait to be shipped: functions that are called for each event, by its type.
CREATE TABLE fulfillment_queue (order_id text PRIMARY KEY, paid_at timestamptz);
CREATE FUNCTION on_paid(e evstore.event) RETURNS void LANGUAGE sql AS
	'INSERT INTO fulfillment_queue VALUES (e.stream, e.recorded_at)';
CREATE FUNCTION on_gone(e evstore.event) RETURNS void LANGUAGE sql AS
	'DELETE FROM fulfillment_queue WHERE order_id = e.stream';
SELECT evstore.create_projection('fulfillment_queue', read_table => 'fulfillment_queue',
	handlers => '{"PaymentCaptured": "on_paid", "OrderShipped": "on_gone", "OrderCancelled": "on_gone"}');

-- Three queries.
SELECT evstore.create_projection('orders_by_region', query => $$
	SELECT data->'ship_to'->>'region' AS region,
		count(*) FILTER (WHERE type = 'OrderPlaced') AS placed,
		count(*) FILTER (WHERE type = 'OrderCancelled') AS cancelled,
		sum(CASE type WHEN 'OrderPlaced' THEN (data->>'total')::numeric ELSE -(data->>'total')::numeric END) AS value
	FROM events
	WHERE type IN ('OrderPlaced', 'OrderCancelled')
	GROUP BY data->'ship_to'->>'region'
$$);
SELECT evstore.create_projection('customer_dashboard', query => $$
	SELECT data->>'customer' AS customer,
		count(*) FILTER (WHERE type = 'OrderPlaced') AS orders,
		count(*) FILTER (WHERE type = 'OrderCancelled') AS cancelled,
		max(recorded_at) FILTER (WHERE type = 'OrderPlaced') AS last_order_at
	FROM events
	WHERE type IN ('OrderPlaced', 'OrderCancelled')
	GROUP BY data->>'customer'
$$);
-- This one has a bug, for rebuild.sql to mend: it forgets that money is paid back.
SELECT evstore.create_projection('customer_revenue', query => $$
	SELECT data->>'customer' AS customer, sum((data->>'amount')::numeric) AS revenue
	FROM events
	WHERE type = 'PaymentCaptured'
	GROUP BY data->>'customer'
$$);
