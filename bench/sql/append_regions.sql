\set s random(1, 10000)
\set r random(1, 10)
SELECT evstore.append('order-' || :s::text, 'OrderPlaced', ('{"order": 10248, "customer": "VINET", "region": "region-' || :r::text
	|| '", "amount": 440.25, "currency": "EUR", "lines": [{"sku": "queso-cabrales", "qty": 12, "price": 14.0}, {"sku": "mee-hokkien", "qty": 10, "price": 9.8}], "ship_to": "59 rue de l Abbaye, Reims"}')::jsonb);
