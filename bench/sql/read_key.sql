\if :first
SELECT evstore.append('order-first', 'OrderPlaced', '{"region": "region-1", "amount": 1}');
\set first 0
\endif
\set r random(1, 10)
SELECT orders, amount FROM orders_by_region WHERE region = 'region-' || :r::text;
