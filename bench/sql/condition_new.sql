\set s random(1, 9000000000000000000)
SELECT evstore.append_if(
	ARRAY[ROW('SeatTaken', :data::jsonb, NULL, NULL, ARRAY['seat:' || :s::text], NULL)]::evstore.new_event[],
	('{"items": [{"tags": ["seat:' || :s::text || '"]}]}')::jsonb);
