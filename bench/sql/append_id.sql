\set s random(1, 9000000000000000000)
SELECT evstore.append('order-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 0, id => gen_random_uuid());
