\set s random(1, 9000000000000000000)
SELECT evstore.append('order-' || :s::text, ARRAY[
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL),
	ROW('OrderPlaced', :data::jsonb, NULL, NULL, NULL, NULL)
]::evstore.new_event[], 0);
