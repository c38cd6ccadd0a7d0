\set s random(1, 9000000000000000000)
SELECT evstore.append('order-' || :s::text, evstore.events(:ten::jsonb), 0);
