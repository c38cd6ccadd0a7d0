-- The category is what stands before the "-", and what message-db locks.
\set c random(1, :categories)
\set s random(1, 9000000000000000000)
SELECT write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => -1);
