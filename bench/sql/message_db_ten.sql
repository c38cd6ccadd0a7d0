-- There is no function for many events: ten calls in one statement.
\set c random(1, :categories)
\set s random(1, 9000000000000000000)
SELECT
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => -1),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 0),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 1),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 2),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 3),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 4),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 5),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 6),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 7),
	write_message(gen_random_uuid()::varchar, 'order' || :c::text || '-' || :s::text, 'OrderPlaced', :data::jsonb, expected_version => 8);
