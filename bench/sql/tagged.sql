-- :events events with two tags each: that of a customer, who has twenty of them,
-- and that of one of a thousand products. The index on tags is made afterwards,
-- which is faster than to fill it one by one.
SET maintenance_work_mem = '1GB';
DROP INDEX events_tags_idx;
INSERT INTO events (stream, type, data, tags)
	SELECT 'customer-' || i % (:events / 20), 'OrderPlaced', '{}',
		ARRAY['customer:' || i % (:events / 20), 'product:' || i % 1000]
	FROM generate_series(1, :events) i;
CREATE INDEX events_tags_idx ON events USING gin (tags) WITH (fastupdate = off) WHERE tags IS NOT NULL;
VACUUM ANALYZE events;
