\set s random(1, 9000000000000000000)
SELECT home_made_append('order-' || :s::text, 'OrderPlaced', :data::jsonb, 0, :one_lock);
