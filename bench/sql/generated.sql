-- A table "generated" of :events orders in :events/5 streams of five events
-- each, the streams interleaved; ten regions, :events/20 customers.
SELECT setseed(0.5) \g /dev/null
CREATE UNLOGGED TABLE generated AS
	SELECT 'order-' || i % (:events / 5) AS stream, i / (:events / 5) + 1 AS version, 'OrderPlaced'::text AS type,
		jsonb_build_object('order', i, 'customer', 'customer-' || (random() * :events / 20)::int,
			'region', (ARRAY['north', 'south', 'east', 'west', 'centre', 'coast', 'islands', 'hills', 'lakes', 'abroad'])[1 + i % 10],
			'amount', round((random() * 1000)::numeric, 2), 'currency', 'EUR',
			'lines', jsonb_build_array(jsonb_build_object('sku', 'sku-' || i % 977, 'qty', i % 12, 'price', 14.0)),
			'ship_to', repeat('x', 30)) AS data
	FROM generate_series(0, :events - 1) i;
