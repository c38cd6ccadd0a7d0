\set r random(1, 10)
SELECT evstore.append('order-' || :client_id::text, 'OrderPlaced', ('{"region": "region-' || :r::text || '", "amount": 440.25}')::jsonb);
SELECT orders, amount FROM orders_by_region WHERE region = 'region-' || :r::text;
