\set s random(1, 9000000000000000000)
SELECT home_made_append('order-' || :s::text, :ten::jsonb, 0, :one_lock);
