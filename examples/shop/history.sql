-- Orders of last year, brought from elsewhere with their times. They come first, into an empty event table, as its owner.

INSERT INTO events (position, stream, version, recorded_at, schema_version, type, data) VALUES
	(1, 'order-1', 1, '2025-06-02 09:10+00', 1, 'OrderPlaced', '{"customer": "ann", "region": "north", "total": 40,
		"lines": [{"sku": "tea", "quantity": 4, "price": 10}]}'),                                          -- Monday
	(2, 'order-1', 2, '2025-06-03 08:00+00', 1, 'PaymentCaptured', '{"customer": "ann", "amount": 40}'),   -- Tuesday
	(3, 'order-2', 1, '2025-06-03 08:30+00', 1, 'OrderPlaced', '{"customer": "bob", "region": "south", "total": 12.50,
		"lines": [{"sku": "cup", "quantity": 1, "price": 12.50}]}'),
	(4, 'order-1', 3, '2025-06-04 10:00+00', 1, 'OrderCancelled', '{"customer": "ann", "region": "north", "total": 40,
		"reason": "out of stock"}'),                                                                       -- Wednesday
	(5, 'order-1', 4, '2025-06-04 10:00+00', 1, 'PaymentRefunded', '{"customer": "ann", "amount": 40}');
