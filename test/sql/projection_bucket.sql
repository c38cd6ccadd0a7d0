-- Time buckets as keys, in the time zone of the declaration; and LEFT JOIN to
-- reference tables, as they are when the events are processed.

CREATE SCHEMA regress_projection_bucket;
SET search_path = regress_projection_bucket;
SELECT evstore.create_event_table();

CREATE FUNCTION differences(read_table regclass, query text) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
	result bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE %1$s)) d', read_table, query) INTO result;
	RETURN result;
END
$$;
CREATE TABLE query (n integer GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, query text NOT NULL);
INSERT INTO query (name, query) VALUES
('daily', $$
	SELECT date_trunc('day', (data->>'at')::timestamptz) AS day, count(*) AS n, sum((data->>'x')::integer) AS x FROM events GROUP BY 1$$),
('dates', $$
	SELECT (data->>'at')::timestamptz::date AS day, count(*) AS n FROM events GROUP BY 1$$),
('in_tokyo', $$
	SELECT date_trunc('month', (data->>'at')::timestamptz, 'Asia/Tokyo') AS month, count(*) AS n FROM events GROUP BY 1$$),
('binned', $$
	SELECT date_bin('15 minutes', (data->>'at')::timestamptz, '2000-01-01 00:00:00+00') AS quarter, count(*) AS n FROM events GROUP BY 1$$),
('hours', $$
	SELECT extract(isodow FROM (data->>'at')::timestamptz) AS day_of_week, extract(hour FROM (data->>'at')::timestamptz)::integer AS hour,
		count(*) AS n FROM events GROUP BY 1, 2$$),
('months', $$
	SELECT to_char((data->>'at')::timestamptz, 'YYYY-MM') AS month, to_char((data->>'at')::timestamptz, 'FMHH24:MI TZH') AS clock, count(*) AS n,
		round(100.0 * count(*) FILTER (WHERE type = 'Paid') / count(*), 1) AS paid
	FROM events GROUP BY 1, 2 HAVING count(*) > 0$$),
('recorded', $$
	SELECT date_trunc('hour', recorded_at) AS hour, count(*) AS n FROM events GROUP BY 1$$);

-- Declared in a time zone that neither the workers nor, later, the session has.
SET TimeZone = 'America/New_York';
SELECT name, evstore.create_projection(name, query => query) FROM query ORDER BY n;
RESET TimeZone;

-- Around midnight, and around the hour that New York has twice.
SELECT count(evstore.append('o-' || n, CASE WHEN n % 2 = 0 THEN 'Placed' ELSE 'Paid' END, jsonb_build_object('at', instant, 'x', n))) AS appended
FROM unnest('{2021-03-01 04:59:59+00,2021-03-01 05:00:00+00,2021-11-07 05:10:00+00,2021-11-07 06:10:00+00,2021-11-07 06:20:00+00,2021-11-08 04:59:00+00,NULL}'::timestamptz[])
	WITH ORDINALITY i (instant, n);
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT evstore.append('o-1', 'Paid', '{"at": "2021-03-01 05:30:00+00", "x": 10}') IS NOT NULL AS appended;
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;

SET TimeZone = 'America/New_York';
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
SELECT * FROM daily ORDER BY day;
SELECT * FROM dates ORDER BY day;
SELECT * FROM binned ORDER BY quarter;
SELECT * FROM hours ORDER BY 1, 2;
SELECT * FROM months ORDER BY 1, 2;
-- The buckets are not the reader's.
SET TimeZone = 'UTC';
SELECT name, differences(name::regclass, query) > 0 AS differs FROM query WHERE name NOT IN ('recorded') ORDER BY n;
RESET TimeZone;

-- LEFT JOIN: no partner, one, two; what the reference table says later is for later events.
CREATE TABLE region (code text, name text);
INSERT INTO region VALUES ('n', 'north'), ('w', 'west'), ('w', 'occident');
SELECT evstore.create_projection('by_region', query => $$
	SELECT r.name, count(*) AS events, count(r.code) AS known, string_agg(e.stream, ' ' ORDER BY position) AS streams
	FROM events e LEFT JOIN region r ON r.code = e.data->>'region' WHERE e.type = 'Sold' GROUP BY r.name$$);
SELECT evstore.create_projection('by_place', query => $$
	SELECT coalesce(r.name, 'nowhere') AS place, count(*) * 2 AS doubled
	FROM region r RIGHT JOIN events e ON r.code = e.data->>'region' WHERE e.type = 'Sold' GROUP BY coalesce(r.name, 'nowhere')$$);
SELECT evstore.append('s-1', 'Sold', '{"region": "n"}') IS NOT NULL AS appended;
SELECT evstore.append('s-2', 'Sold', '{"region": "w"}') IS NOT NULL AS appended;
SELECT evstore.append('s-3', 'Sold', '{"region": "e"}') IS NOT NULL AS appended;
SELECT evstore.wait_for('by_region') AND evstore.wait_for('by_place') AS followed;
SELECT * FROM by_region ORDER BY name;
SELECT * FROM by_place ORDER BY place;
UPDATE region SET name = 'septentrion' WHERE code = 'n';
INSERT INTO region VALUES ('e', 'east');
DELETE FROM region WHERE name = 'occident';
SELECT evstore.append('s-4', 'Sold', '{"region": "n"}') IS NOT NULL AS appended;
SELECT evstore.append('s-5', 'Sold', '{"region": "e"}') IS NOT NULL AS appended;
SELECT evstore.append('s-6', 'Sold', '{"region": "w"}') IS NOT NULL AS appended;
SELECT evstore.wait_for('by_region') AND evstore.wait_for('by_place') AS followed;
SELECT * FROM by_region ORDER BY name;
SELECT * FROM by_place ORDER BY place;

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_bucket CASCADE;
