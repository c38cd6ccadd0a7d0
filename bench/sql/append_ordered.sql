\set n :n + 1
\set s 1000000000000000000 + :n
SELECT evstore.append('order-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 0);
