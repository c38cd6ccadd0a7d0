\set c random(0, 999)
SELECT evstore.append_if(
	ARRAY[ROW('OrderPlaced', :data::jsonb, NULL, NULL, ARRAY['customer:' || :c::text], NULL)]::evstore.new_event[],
	('{"items": [{"types": ["AccountClosed"], "tags": ["customer:' || :c::text || '"]}]}')::jsonb);
