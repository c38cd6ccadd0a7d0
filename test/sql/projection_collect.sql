-- Aggregates that collect values in the order of positions: array_agg,
-- string_agg, jsonb_agg, jsonb_object_agg.

CREATE SCHEMA regress_projection_collect;
SET search_path = regress_projection_collect;
SELECT evstore.create_event_table();

CREATE TABLE query (n integer GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, query text NOT NULL);
INSERT INTO query (name, query) VALUES
('history', $$
	SELECT stream, array_agg(type ORDER BY position) AS types, array_agg(type ORDER BY position DESC) AS newest_first,
		string_agg(type, ', ' ORDER BY position) AS text, string_agg(data->>'x', E'\n' || '' ORDER BY position) FILTER (WHERE data ? 'x') AS lines,
		string_agg(type, NULL ORDER BY position) AS joined, string_agg(type::bytea, '\x00' ORDER BY position) AS bytes,
		array_agg((data->>'x')::integer ORDER BY position) AS xs, array_agg(ARRAY[version, version * 10] ORDER BY position) AS pairs,
		jsonb_agg(data ORDER BY position) AS all_data, jsonb_object_agg(coalesce(data->>'k', 'none'), version ORDER BY position) AS newest,
		jsonb_object_agg(coalesce(data->>'k', 'none'), version ORDER BY position DESC) AS oldest
	FROM events GROUP BY stream$$),
('items', $$
	SELECT stream, array_agg(item ORDER BY position, item DESC) AS items, string_agg(item, '' ORDER BY e.position DESC, item) AS backwards
	FROM events e, jsonb_array_elements_text(data->'items') item GROUP BY stream$$),
('steps', $$
	SELECT stream, cardinality(array_agg(type ORDER BY position)) AS steps, (array_agg(type ORDER BY position DESC))[1:2] AS last_two
	FROM events GROUP BY stream HAVING string_agg(type, '>' ORDER BY position) LIKE 'a%'$$),
('all_types', 'SELECT string_agg(type, '''' ORDER BY position) AS types, array_agg(version ORDER BY position) FILTER (WHERE type = ''b'') AS versions FROM events');

-- Wait until a condition holds; give up after a minute.
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS
$$
DECLARE
	holds boolean;
	give_up timestamptz := clock_timestamp() + interval '1 minute';
BEGIN
	LOOP
		EXECUTE 'SELECT ' || condition INTO holds;
		EXIT WHEN holds;
		IF clock_timestamp() > give_up THEN
			RAISE EXCEPTION 'timed out: %', condition;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
END
$$;
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
SELECT name, evstore.create_projection(name, query => query) FROM query ORDER BY n;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
SELECT version FROM evstore.append('s-1', 'a', '{"x": 1, "k": "p", "items": ["i", "j"]}');
SELECT version FROM evstore.append('s-2', 'b', '{}');
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
SELECT version FROM evstore.append('s-1', 'b', '{"k": "q", "items": ["i"]}');
SELECT version FROM evstore.append('s-1', 'c', '{"x": 2, "k": "p", "items": []}');
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT version FROM evstore.append('s-2', 'd', '{"x": 3, "items": ["k", "i"]}');
SELECT bool_and(evstore.wait_for(name)) AS followed FROM query;
SELECT name, differences(name::regclass, query) FROM query ORDER BY n;
SELECT stream, types, newest_first, text, lines, joined, bytes FROM history ORDER BY stream;
SELECT stream, xs, pairs, all_data, newest, oldest FROM history ORDER BY stream;
SELECT * FROM items ORDER BY stream;
SELECT * FROM steps ORDER BY stream;
SELECT types, versions FROM all_types;

-- What is collected has a bound: within a batch, and when batches are put together.
SELECT evstore.create_projection('long', query => 'SELECT type, string_agg(data->>''text'', '''' ORDER BY position) AS text FROM events WHERE data ? ''text'' GROUP BY type');
SELECT version FROM evstore.append('t-1', 'long', jsonb_build_object('text', repeat('x', 1024 * 1024 - 104)));
SELECT evstore.wait_for('long');
SELECT type, length(text) FROM long;
SELECT version FROM evstore.append('t-1', 'long', jsonb_build_object('text', repeat('y', 100)));
SELECT evstore.wait_for('long');
SELECT type, length(text) FROM long;
SELECT version FROM evstore.append('t-1', 'long', '{"text": "z"}');
CALL until($$state = 'failing' FROM evstore.projections WHERE name = 'long'$$);
SELECT state, split_part(last_error, E'\nCONTEXT', 1) AS last_error FROM evstore.projections WHERE name = 'long';
SELECT evstore.drop_projection('long');
SELECT evstore.create_projection('long', query => 'SELECT type, string_agg(data->>''text'', '''' ORDER BY position) AS text FROM events WHERE data ? ''text'' GROUP BY type');
CALL until($$state = 'failing' FROM evstore.projections WHERE name = 'long'$$);
SELECT state, split_part(last_error, E'\nCONTEXT', 1) AS last_error FROM evstore.projections WHERE name = 'long';
SELECT evstore._bounded(1, 'n');
\echo :SQLSTATE

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_collect CASCADE;
