-- Query projections: each aggregate, FILTER, NULL keys, expressions, joins to
-- reference tables, lateral functions, first and last by position. A read table
-- is right when it equals its query over the whole log.

CREATE SCHEMA regress_projection_query;
SET search_path = regress_projection_query;
SELECT evstore.create_event_table();

-- Rows that the read table has and its query has not, plus the reverse.
CREATE FUNCTION differences(read_table regclass, query text) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
	columns text;
	result bigint;
BEGIN
	SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
	FROM pg_attribute WHERE attrelid = read_table AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\_%';
	EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL (%3$s)) UNION ALL ((%3$s) EXCEPT ALL SELECT %1$s FROM %2$s)) d',
		columns, read_table, query) INTO result;
	RETURN result;
END
$$;

-- Every query stands here once; its projection has the same name.
CREATE TABLE query (n integer GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, query text NOT NULL);

CREATE TABLE country (code text PRIMARY KEY, continent text);
INSERT INTO country VALUES ('de', 'Europe'), ('fr', 'Europe'), ('jp', 'Asia');
CREATE VIEW european AS SELECT code, left(code, 1) AS initial FROM country WHERE continent = 'Europe';
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
CREATE FUNCTION bigger(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT greatest($1, $2)';
CREATE AGGREGATE biggest(numeric) (SFUNC = bigger, STYPE = numeric, COMBINEFUNC = bigger);

INSERT INTO query (name, query) VALUES
('counts', $$
	SELECT stream, count(*) AS events, count(metadata) AS with_metadata, count(data->>'total') AS with_total
	FROM events GROUP BY stream$$),
('sums', $$
	SELECT data->>'country' AS country, sum((data->>'total')::numeric) AS total, sum((data->>'total')::integer) AS total_integer,
		sum((data->>'total')::bigint) AS total_bigint, sum(make_interval(secs => (data->>'total')::integer)) AS total_time
	FROM events WHERE type = 'OrderPlaced' GROUP BY data->>'country'$$),
('extremes', $$
	SELECT data->>'country' AS country, min((data->>'total')::numeric) AS least, max((data->>'total')::numeric) AS most,
		min(stream) AS first_name, max(data->>'item') AS last_item, min(recorded_at) AS since
	FROM events GROUP BY data->>'country'$$),
('averages', $$
	SELECT data->>'country' AS country, avg((data->>'total')::numeric) AS average, avg((data->>'total')::integer) AS average_integer,
		count(*) AS events
	FROM events GROUP BY 1$$),
('booleans', $$
	SELECT data->>'country' AS country, bool_and((data->>'gift')::boolean) AS all_gifts, bool_or((data->>'gift')::boolean) AS any_gift,
		every(version > 1) AS every_later
	FROM events GROUP BY data->>'country'$$),
('bits', $$
	SELECT stream, bit_and((data->>'total')::integer) AS all_bits, bit_or((data->>'total')::integer) AS any_bit,
		bit_xor((data->>'total')::integer) AS odd_bits, regr_count((data->>'total')::float8, version) AS pairs
	FROM events GROUP BY stream$$),
('firsts_and_lasts', $$
	SELECT stream, evstore.first(type, position) AS began, evstore.last(type, position) AS status,
		evstore.last(data->>'total', position) AS last_total, evstore.last(data, position) AS last_data,
		evstore.first((data->>'total')::numeric, position) FILTER (WHERE data ? 'total') AS first_total
	FROM events GROUP BY stream$$),
('filters', $$
	SELECT data->>'country' AS country,
		count(*) FILTER (WHERE type = 'OrderPlaced') AS placed, count(*) FILTER (WHERE type = 'OrderShipped') AS shipped,
		sum((data->>'total')::numeric) FILTER (WHERE (data->>'total')::numeric > 15) AS large_total,
		max(version) FILTER (WHERE false) AS never, avg((data->>'total')::numeric) FILTER (WHERE type = 'OrderPlaced') AS average_placed
	FROM events GROUP BY data->>'country'$$),
('many_keys', $$
	SELECT type, data->>'country' AS country, (data->>'gift')::boolean AS gift, count(*) AS events
	FROM events GROUP BY type, data->>'country', (data->>'gift')::boolean$$),
('keys_last', $$
	SELECT count(*) AS events, shout(type) AS loud, sum(version) AS versions, length(stream) % 2 = 0 AS even
	FROM events GROUP BY length(stream) % 2 = 0, shout(type)$$),
('expressions', $$
	SELECT split_part(stream, '-', 1) AS category,
		CASE WHEN (data->>'total')::numeric > 15 THEN 'large' WHEN data ? 'total' THEN 'small' END AS size,
		date_trunc('year', (data->>'day')::date::timestamp)::date AS year,
		count(*) AS events, sum(coalesce((data->>'total')::numeric, 0) * 2 + 1) AS doubled
	FROM events GROUP BY 1, 2, 3$$),
('where_clause', $$
	SELECT stream, count(*) AS events
	FROM events e
	WHERE e.type IN ('OrderPlaced', 'OrderShipped') AND (data @> '{"country": "de"}' OR NOT data ? 'country') AND stream LIKE 'order-%'
	GROUP BY stream$$),
('inner_join', $$
	SELECT c.continent, count(*) AS events, sum((e.data->>'total')::numeric) AS total
	FROM events e JOIN country c ON c.code = e.data->>'country'
	GROUP BY c.continent$$),
('comma_join', $$
	SELECT c.continent, e.type, count(*) AS events
	FROM country c, events e WHERE c.code = e.data->>'country'
	GROUP BY c.continent, e.type$$),
('left_join', $$
	SELECT c.continent, count(*) AS events, count(c.code) AS known
	FROM events e LEFT JOIN country c ON c.code = e.data->>'country'
	GROUP BY c.continent$$),
('view_join', $$
	SELECT v.code, v.initial, count(*) AS events
	FROM events e LEFT JOIN european v ON v.code = e.data->>'country'
	GROUP BY v.code, v.initial$$),
('lines', $$
	SELECT line->>'item' AS item, sum((line->>'quantity')::integer) AS quantity,
		sum((line->>'quantity')::integer * (line->>'price')::numeric) AS revenue, count(*) AS lines,
		evstore.last((line->>'price')::numeric, position) AS last_price
	FROM events, jsonb_array_elements(data->'lines') line
	GROUP BY line->>'item'$$),
('lateral_join', $$
	SELECT l.item, c.continent, count(*) AS lines
	FROM events e
		CROSS JOIN LATERAL jsonb_to_recordset(e.data->'lines') AS l (item text, quantity integer)
		LEFT JOIN country c ON c.code = e.data->>'country'
	GROUP BY l.item, c.continent$$),
('tagged', $$
	SELECT tag, count(*) AS events FROM events, unnest(tags) AS tag GROUP BY tag$$),
('one_row', $$
	SELECT 'all' AS scope, count(*) AS events, count(*) FILTER (WHERE type = 'OrderPlaced') AS orders,
		sum((data->>'total')::numeric) AS total, evstore.last(type, position) AS last
	FROM events GROUP BY 1$$),
('floats', $$
	SELECT type, sum((data->>'total')::float8) AS total, avg((data->>'total')::float8) AS average,
		min((data->>'total')::float4) AS least, avg(make_interval(secs => (data->>'total')::integer)) AS average_time
	FROM events GROUP BY type$$),
('composed_keys', $$
	SELECT data->'lines' AS lines, tags, (data->>'total')::numeric AS total, count(*) AS events
	FROM events GROUP BY 1, 2, 3$$),
('keys_only', $$
	SELECT stream, type FROM events GROUP BY stream, type$$),
('own_aggregate', $$
	SELECT data->>'country' AS country, biggest((data->>'total')::numeric) AS biggest
	FROM events GROUP BY data->>'country'$$),
('"Odd name"', $$
	SELECT data->>'country' AS "The ""country""", count(*) AS "count", sum((data->>'total')::numeric) AS "select"
	FROM events AS "the events" GROUP BY data->>'country'$$);

-- Half of the projections are made over an empty log, half over a full one.
SELECT name, evstore.create_projection(trim('"' FROM name), query => query, read_table => name)
FROM query WHERE n % 2 = 0 ORDER BY n;

SELECT version FROM evstore.append('order-1', evstore.events('[
	{"type": "OrderPlaced", "data": {"country": "de", "total": 10, "gift": true, "day": "2020-03-01",
		"lines": [{"item": "pen", "quantity": 2, "price": 1.50}, {"item": "ink", "quantity": 1, "price": 7.00}]}, "tags": ["vip", "new"]},
	{"type": "OrderPaid", "data": {"country": "de"}, "metadata": {"by": "card"}}]'), 0);
SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{"country": "fr", "total": 30, "gift": false, "day": "2021-12-31",
	"lines": [{"item": "pen", "quantity": 10, "price": 1.40}]}', tags => '{vip}');
SELECT version FROM evstore.append('order-3', 'OrderPlaced', '{"country": null, "total": 5, "day": "2021-01-01", "lines": []}');
SELECT version FROM evstore.append('order-1', 'OrderShipped', '{"country": "de", "gift": false}');
SELECT version FROM evstore.append('customer-1', 'CustomerNamed', '{"name": "Ann"}');
SELECT bool_and(evstore.wait_for(trim('"' FROM name))) AS followed FROM query WHERE n % 2 = 0;

SELECT name, evstore.create_projection(trim('"' FROM name), query => query, read_table => name)
FROM query WHERE n % 2 = 1 ORDER BY n;
SELECT bool_and(evstore.wait_for(trim('"' FROM name))) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;

-- More events, in separate batches: keys that exist, keys that are new, values
-- that change nothing, and NULL in every place.
SELECT version FROM evstore.append('order-4', 'OrderPlaced', '{"country": "jp", "total": 0, "gift": true, "day": "2022-02-02", "item": "x",
	"lines": [{"item": "ink", "quantity": 3, "price": 6.50}, {"item": null, "quantity": null, "price": 1}]}');
SELECT bool_and(evstore.wait_for(trim('"' FROM name))) AS followed FROM query;
SELECT version FROM evstore.append('order-1', 'OrderReturned', '{"country": "de", "total": -3, "gift": true, "item": "a"}');
SELECT version FROM evstore.append('order-5', 'OrderPlaced', '{"country": "xx", "total": null}');
SELECT version FROM evstore.append('order-3', 'OrderShipped', '{}', tags => '{new,vip}');
SELECT bool_and(evstore.wait_for(trim('"' FROM name))) AS followed FROM query;
SELECT version FROM evstore.append('order-1', 'OrderClosed', 'null');
SELECT version FROM evstore.append('order-5', 'OrderShipped', '[]');
SELECT bool_and(evstore.wait_for(trim('"' FROM name))) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;

-- The tables as a reader finds them.
SELECT stream, events, with_metadata, with_total FROM counts ORDER BY stream;
SELECT country, total, total_integer, total_bigint, total_time FROM sums ORDER BY country;
SELECT country, average, average_integer, events FROM averages ORDER BY country;
SELECT country, all_gifts, any_gift, every_later FROM booleans ORDER BY country;
SELECT stream, began, status, last_total, last_data, first_total FROM firsts_and_lasts ORDER BY stream;
SELECT country, placed, shipped, large_total, never, average_placed FROM filters ORDER BY country;
SELECT category, size, year, events, doubled FROM expressions ORDER BY 1, 2, 3;
SELECT continent, events, total FROM inner_join ORDER BY continent;
SELECT continent, events, known FROM left_join ORDER BY continent;
SELECT item, quantity, revenue, lines, last_price FROM lines ORDER BY item;
SELECT "The ""country""", "count", "select" FROM "Odd name" ORDER BY 1;

-- What was made: columns and key, the ones evstore needs beside the query's
-- own with an underscore before them. NULL is a key like any other.
SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null
FROM pg_attribute WHERE attrelid = 'averages'::regclass AND attnum > 0 ORDER BY attnum;
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = 'firsts_and_lasts'::regclass AND attnum > 0 ORDER BY attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'many_keys'::regclass;
INSERT INTO many_keys (type, country, gift) SELECT type, country, gift FROM many_keys WHERE country IS NULL LIMIT 1;
\echo :SQLSTATE

-- A join is evaluated when the event is processed: what the reference table
-- says later does not change what was counted.
UPDATE country SET continent = 'Elsewhere' WHERE code = 'jp';
SELECT version FROM evstore.append('order-6', 'OrderPlaced', '{"country": "jp", "total": 1}');
SELECT evstore.wait_for('inner_join');
SELECT continent, events, total FROM inner_join ORDER BY continent;

-- The names in a query mean what they meant when it was made, whatever is put
-- before them on the path.
CREATE SCHEMA regress_projection_query_first;
SET search_path = regress_projection_query_first, regress_projection_query, pg_catalog;
SELECT evstore.create_projection('shadowed', read_table => 'regress_projection_query.shadowed', query => $$
	SELECT c.continent, shout(e.type) AS loud, upper(e.type) AS upper, count(*) AS events
	FROM regress_projection_query.events e LEFT JOIN country c ON c.code = e.data->>'country' GROUP BY 1, 2, 3$$);
SELECT evstore.wait_for('shadowed');
CREATE TABLE country (code text, continent text);
INSERT INTO country VALUES ('de', 'wrong');
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'wrong' $$;
CREATE FUNCTION upper(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'wrong' $$;
SET search_path = regress_projection_query;
SELECT version FROM evstore.append('order-7', 'OrderPlaced', '{"country": "de", "total": 1}');
SELECT evstore.wait_for('shadowed');
SELECT count(*) AS wrong FROM shadowed WHERE 'wrong' IN (continent, loud, upper);
SELECT evstore.drop_projection('shadowed');

-- So do the settings that an expression depends on.
SET TimeZone = 'Pacific/Kiritimati';
SET DateStyle = 'German';
SET IntervalStyle = 'iso_8601';
SELECT evstore.create_projection('settings', query => $$
	SELECT (data->>'at')::timestamptz::date AS day, (data->>'at')::timestamptz::text AS text,
		(data->>'for')::interval::text AS duration, count(*) AS events
	FROM events WHERE type = 'Timed' GROUP BY 1, 2, 3$$);
RESET TimeZone;
RESET DateStyle;
RESET IntervalStyle;
SELECT version FROM evstore.append('timed-1', 'Timed', '{"at": "2020-01-01 12:00:00+00", "for": "90 minutes"}');
SELECT version FROM evstore.append('timed-1', 'Timed', '{"at": "02.03.2020 00:00:00", "for": "1 day"}');
SELECT evstore.wait_for('settings');
SELECT day, text, duration, events FROM settings ORDER BY day;
SELECT evstore.drop_projection('settings');

-- Tables that a projection knows may be renamed and moved, and it follows.
CREATE TABLE rate (country text PRIMARY KEY, factor numeric);
INSERT INTO rate VALUES ('de', 2);
SELECT evstore.create_event_table('moving');
SELECT evstore.create_projection('moved', query => $$
	SELECT data->>'country' AS country, count(*) AS events, sum((data->>'total')::numeric * factor) AS total
	FROM moving JOIN rate ON rate.country = data->>'country' GROUP BY 1$$);
SELECT version FROM evstore.append('move-1', 'Moved', '{"country": "de", "total": 1}', event_table => 'moving');
SELECT evstore.wait_for('moved');
ALTER TABLE moving RENAME TO mover;
ALTER TABLE mover SET SCHEMA regress_projection_query_first;
ALTER TABLE rate RENAME TO exchange_rate;
ALTER TABLE exchange_rate RENAME COLUMN factor TO multiplier;
ALTER TABLE moved RENAME TO follower;
ALTER TABLE follower SET SCHEMA regress_projection_query_first;
SELECT version FROM evstore.append('move-1', 'Moved', '{"country": "de", "total": 10}', event_table => 'regress_projection_query_first.mover');
SELECT evstore.wait_for('moved');
SELECT country, events, total FROM regress_projection_query_first.follower;
SELECT name, state, event_table, read_table FROM evstore.projections WHERE name = 'moved';
SELECT evstore.drop_projection('moved');
SELECT to_regclass('regress_projection_query_first.follower') AS follower;

-- Events of another table, and from another schema; the read table's name and place.
CREATE SCHEMA regress_projection_query_2;
SELECT evstore.create_event_table('regress_projection_query_2.ledger');
SELECT evstore.create_projection('elsewhere', read_table => 'regress_projection_query_2.entries', query => $$
	SELECT stream, sum(data::numeric) AS balance FROM regress_projection_query_2.ledger GROUP BY stream$$);
SELECT version FROM evstore.append('account-1', evstore.events('[{"type": "Booked", "data": 5}, {"type": "Booked", "data": -2}]'),
	event_table => 'regress_projection_query_2.ledger');
SELECT evstore.wait_for('elsewhere');
SELECT stream, balance FROM regress_projection_query_2.entries;
SELECT name, kind, mode, owner = CURRENT_USER::regrole AS mine, event_table, read_table
FROM evstore.projections WHERE name IN ('elsewhere', 'Odd name') ORDER BY name;

-- Dropping: the read table goes along, or stays.
SELECT evstore.drop_projection('elsewhere');
SELECT to_regclass('regress_projection_query_2.entries') AS read_table;
SELECT evstore.drop_projection('counts', keep_table => true);
SELECT count(*) FROM counts;
SELECT evstore.wait_for('counts');
\echo :SQLSTATE
SELECT evstore.drop_projection('counts');
\echo :SQLSTATE
SELECT evstore.drop_projection(NULL);
-- a name that was freed can be used again, a table that stayed cannot
SELECT evstore.create_projection('counts', query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream');
\echo :SQLSTATE
DROP TABLE counts;
SELECT evstore.create_projection('counts', query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream');
SELECT evstore.wait_for('counts');
SELECT differences('counts', 'SELECT stream, count(*) AS events FROM events GROUP BY stream');
-- a projection made or dropped in a transaction that fails is not, or is still, there
BEGIN;
SELECT evstore.drop_projection('counts');
SELECT evstore.create_projection('undone', query => 'SELECT type, count(*) AS events FROM events GROUP BY type');
ROLLBACK;
SELECT name FROM evstore.projections WHERE name IN ('counts', 'undone');
SELECT to_regclass('undone') AS undone;
SELECT evstore.wait_for('counts');

-- A table with columns added or dropped by its owner is kept all the same.
SELECT evstore.create_projection('altered', query => 'SELECT stream, count(*) AS events, avg(version) AS average FROM events GROUP BY stream');
SELECT evstore.wait_for('altered');
ALTER TABLE altered ADD note text DEFAULT 'own', ALTER events SET DEFAULT 0;
CREATE INDEX ON altered (events);
SELECT version FROM evstore.append('order-8', 'OrderPlaced', '{}');
SELECT evstore.wait_for('altered');
SELECT stream, events, note FROM altered WHERE stream IN ('order-1', 'order-8') ORDER BY stream;
SELECT evstore.drop_projection('altered');

SELECT count(evstore.drop_projection(trim('"' FROM name))) AS dropped FROM query;
SELECT count(*) FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_query, regress_projection_query_2, regress_projection_query_first CASCADE;
