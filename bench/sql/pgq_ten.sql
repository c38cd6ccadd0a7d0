-- There is no function for many events: ten calls in one statement.
\set s random(1, 9000000000000000000)
SELECT
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL),
	pgq.insert_event('bench', 'OrderPlaced', :data, 'order-' || :s::text, NULL, NULL, NULL);
