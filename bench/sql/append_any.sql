\set s random(1, 10000)
SELECT evstore.append('order-' || :s::text, 'OrderPlaced', :data::jsonb);
