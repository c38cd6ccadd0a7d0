\set s random(1, 9000000000000000000)
INSERT INTO bare (stream, version, type, data) VALUES
	('order-' || :s::text, 1, 'OrderPlaced', :data),
	('order-' || :s::text, 2, 'OrderPlaced', :data),
	('order-' || :s::text, 3, 'OrderPlaced', :data),
	('order-' || :s::text, 4, 'OrderPlaced', :data),
	('order-' || :s::text, 5, 'OrderPlaced', :data),
	('order-' || :s::text, 6, 'OrderPlaced', :data),
	('order-' || :s::text, 7, 'OrderPlaced', :data),
	('order-' || :s::text, 8, 'OrderPlaced', :data),
	('order-' || :s::text, 9, 'OrderPlaced', :data),
	('order-' || :s::text, 10, 'OrderPlaced', :data);
