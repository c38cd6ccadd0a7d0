-- :events events, five a stream, into the event table or, with :bare, the bare
-- table. With :ordered the names rise, else they are random. The data are small,
-- because what grows with a table is its indexes.
SELECT setseed(0.5) \g /dev/null
CREATE TEMP TABLE five AS
	SELECT array_agg(evstore.new_event('OrderPlaced', '{}')) AS events FROM generate_series(1, 5);
\set name 'CASE WHEN ' :ordered ' THEN 1000000000000000000 + i ELSE (random() * 9e18)::bigint END'
\if :bare
INSERT INTO bare (stream, version, type, data)
	SELECT s.name, version, 'OrderPlaced', '{}'
	FROM (SELECT 'order-' || :name AS name FROM generate_series(1, :events / 5) i OFFSET 0) s, generate_series(1, 5) version;
\else
SELECT count(evstore.append('order-' || :name, five.events, 0)) FROM five, generate_series(1, :events / 5) i \g /dev/null
\endif
