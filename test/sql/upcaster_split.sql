-- An event that was split is read whole, or not: whoever reads on from the last version or position misses nothing.

CREATE SCHEMA regress_upcaster_split;
SET search_path = regress_upcaster_split;
SELECT evstore.create_event_table();
SELECT version FROM evstore.append('a-1', evstore.events('[
	{"type": "Moved", "data": [1, 2, 3], "tags": ["t"]}, {"type": "Plain", "data": 4, "tags": ["t"]},
	{"type": "Moved", "data": [5, 6], "tags": ["t"]}]'));
CREATE FUNCTION split(e evstore.event) RETURNS SETOF evstore.event LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	pieces jsonb = e.data;
BEGIN
	FOR i IN 0 .. jsonb_array_length(pieces) - 1 LOOP
		e.data := pieces->i;
		RETURN NEXT e;
	END LOOP;
END $$;
SELECT evstore.create_upcaster('Moved', 1, 'split');
SELECT max_count, (SELECT array_agg(version || ':' || data) FROM evstore.read_stream('a-1', max_count => max_count)) FROM generate_series(0, 6) max_count;
SELECT max_count, (SELECT array_agg(version || ':' || data) FROM evstore.read_stream('a-1', max_count => max_count, backwards => true)) FROM generate_series(0, 6) max_count;
SELECT array_agg(data) FROM evstore.read_stream('a-1', from_version => 2, backwards => true);
-- Page by page.
CREATE FUNCTION pages(size bigint, by_query boolean) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	reached bigint = 0;
	page text;
BEGIN
	LOOP
		IF by_query THEN
			SELECT string_agg(data::text, ' '), max(position) INTO page, reached FROM evstore.read_by('{"items": [{"tags": ["t"]}]}', reached, size);
		ELSE
			SELECT string_agg(data::text, ' '), max(position) INTO page, reached FROM evstore.read_events(reached, size);
		END IF;
		EXIT WHEN page IS NULL;
		RETURN NEXT page;
	END LOOP;
END $$;
SELECT size, array_agg(events) FROM (SELECT size, pages(size, false) AS events FROM generate_series(1, 6) size) pages GROUP BY size ORDER BY size;
SELECT size, array_agg(events) FROM (SELECT size, pages(size, true) AS events FROM generate_series(1, 6) size) pages GROUP BY size ORDER BY size;
SET evstore.raw = on;
SELECT size, array_agg(events) FROM (SELECT size, pages(size, true) AS events FROM generate_series(1, 3) size) pages GROUP BY size ORDER BY size;
SELECT array_agg(data) FROM evstore.read_stream('a-1', max_count => 1);
RESET evstore.raw;
SELECT evstore.drop_upcaster('Moved', 1);
RESET search_path;
SET client_min_messages = warning;
SET evstore.maintenance = on;
DROP SCHEMA regress_upcaster_split CASCADE;
