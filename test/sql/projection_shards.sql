-- Projections with shards: several workers apply one projection, and it is still
-- one. Every row of a query and every stream belong to one shard; whatever the
-- number of shards, and however it changes, the read table is what the whole
-- log makes of it.

CREATE SCHEMA regress_projection_shards;
SET search_path = regress_projection_shards;
\set SHOW_CONTEXT never
SELECT evstore.create_event_table();
SELECT setseed(0.34);

CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS
$$
DECLARE
	holds boolean;
BEGIN
	FOR i IN 1..6000 LOOP
		EXECUTE 'SELECT ' || condition INTO holds;
		IF holds THEN
			RETURN;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RAISE 'timed out: %', condition;
END
$$;

-- Appends events at random: some without a stream, some whose keys are NULL.
CREATE PROCEDURE append_some(count integer) LANGUAGE sql AS
$$
	SELECT count(CASE WHEN g % 10 = 0
		THEN evstore.append_if(evstore.events(jsonb_build_array(jsonb_build_object('type', 't4', 'data', d))), '{"items": [{"types": ["never"]}]}')
		ELSE evstore.append('s-' || (random() * 20)::integer, 't' || (random() * 3)::integer, d) END)
	FROM generate_series(1, count) g, LATERAL (SELECT jsonb_build_object('x', (random() * 200)::integer - 100,
		'k', CASE WHEN g % 7 > 0 THEN 'key ' || (random() * 9)::integer END,
		'at', '2026-01-01'::timestamptz + random() * interval '3 days', 'items', jsonb_build_array(g % 3, g % 5))) a(d);
$$;

CREATE TABLE colour (key text PRIMARY KEY, colour text);
INSERT INTO colour VALUES ('key 1', 'red'), ('key 2', 'blue'), ('key 3', NULL);

-- The law, for every kind, with shards and batches of any size.
CREATE TABLE query (name text PRIMARY KEY, query text NOT NULL);
INSERT INTO query VALUES
('by_key', 'SELECT data->>''k'' AS k, count(*) AS n, sum((data->>''x'')::numeric) AS x, evstore.last(type, position) AS last FROM events GROUP BY 1'),
('by_two', 'SELECT (data->>''x'')::integer % 4 AS x, type COLLATE "C" AS type, count(*) AS n FROM events WHERE type <> ''t1'' GROUP BY 1, 2'),
('by_day', 'SELECT date_trunc(''day'', (data->>''at'')::timestamptz) AS day, stream IS NULL AS alone, max((data->>''x'')::numeric) AS x FROM events GROUP BY 1, 2'),
('by_json', 'SELECT data->''items'' AS items, ''all'' AS of, count(*) AS n FROM events GROUP BY 1, 2'),
('computed', 'SELECT data->>''k'' AS k, count(*) + 1 AS more, sum((data->>''x'')::integer) / count(*) AS x FROM events GROUP BY 1 HAVING count(*) > 3'),
('joined', 'SELECT c.colour, count(*) AS n FROM events e LEFT JOIN colour c ON c.key = data->>''k'' GROUP BY c.colour'),
('unnested', 'SELECT item, count(*) AS n FROM events, jsonb_array_elements_text(data->''items'') AS item GROUP BY item'),
('collected', 'SELECT stream, array_agg(type ORDER BY position) AS types FROM events GROUP BY stream');
CREATE TABLE of_statement ("position" bigint, stream text);
CREATE TABLE numbered (stream text, shard integer);
CREATE TABLE of_handler (stream text UNIQUE NULLS NOT DISTINCT, n bigint, versions bigint[]);
CREATE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE sql AS
$$
	INSERT INTO of_handler AS h VALUES (e.stream, 1, ARRAY[e.version])
	ON CONFLICT (stream) DO UPDATE SET n = h.n + 1, versions = h.versions || EXCLUDED.versions
$$;

CALL append_some(100);
SELECT count(evstore.create_projection(name || '_' || shards, query => query, shards => shards, batch_size => 17))
FROM query, unnest('{2, 3, 7}'::integer[]) shards;
SELECT evstore.create_projection('statement', read_table => 'of_statement', shards => 4, batch_size => 23, statement =>
	'INSERT INTO of_statement SELECT position, stream FROM new_events');
SELECT evstore.create_projection('numbered', shards => 4, batch_size => 23, statement =>
	'INSERT INTO numbered SELECT stream, evstore._shard_number() FROM new_events');
SELECT evstore.create_projection('handler', handler => 'on_event', read_table => 'of_handler', shards => 5, batch_size => 11);
CALL append_some(200);
SELECT evstore.wait_for_all();
SELECT name, state, lag_events, shards FROM evstore.projections WHERE name IN ('by_key_3', 'statement', 'handler') ORDER BY name;
SELECT count(*) AS projections, sum(shards) AS shards FROM evstore.projections;

-- How many rows of the tables are not as they should be.
CREATE FUNCTION differences() RETURNS TABLE (name text, differences bigint) LANGUAGE plpgsql AS
$$
DECLARE
	p record;
BEGIN
	FOR p IN SELECT v.name, q.query, (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
			WHERE attrelid = v.name::regclass AND attnum > 0 AND attname NOT LIKE '\_%') AS columns
		FROM query q JOIN evstore.projections v ON v.name ~ ('^' || q.name || '_\d+$') ORDER BY v.name
	LOOP
		name := p.name;
		EXECUTE format('SELECT count(*) FROM ((%1$s EXCEPT ALL SELECT %2$s FROM %3$I) UNION ALL (SELECT %2$s FROM %3$I EXCEPT ALL %1$s)) d',
			p.query, p.columns, p.name) INTO differences;
		RETURN NEXT;
	END LOOP;
	name := 'statement';
	SELECT count(*) INTO differences FROM events e FULL JOIN of_statement s USING ("position") WHERE e.type IS NULL OR s."position" IS NULL OR e.stream IS DISTINCT FROM s.stream;
	differences := differences + (SELECT count(*) - count(DISTINCT "position") FROM of_statement);
	RETURN NEXT;
	name := 'handler';
	SELECT count(*) INTO differences FROM
		((SELECT stream, count(*) AS n, array_agg(version ORDER BY position) AS versions FROM events GROUP BY stream EXCEPT ALL SELECT stream, n, versions FROM of_handler)
		UNION ALL (SELECT stream, n, versions FROM of_handler EXCEPT ALL SELECT stream, count(*), array_agg(version ORDER BY position) FROM events GROUP BY stream)) d;
	RETURN NEXT;
END
$$;
SELECT * FROM differences();

-- A stream is one shard's, and so are all events without one; the shards share the streams.
SELECT max(shards) AS shards_of_a_stream FROM (SELECT count(DISTINCT shard) AS shards FROM numbered GROUP BY stream) s;
SELECT array_agg(DISTINCT shard ORDER BY shard) AS shards FROM numbered;
SELECT evstore.drop_projection('numbered');

-- Their number changes, while events are appended.
CREATE PROCEDURE change_shards(rounds integer) LANGUAGE plpgsql AS
$$
DECLARE
	name text;
BEGIN
	FOR i IN 1..rounds LOOP
		CALL append_some(15);
		COMMIT;
		FOR name IN SELECT p.name FROM evstore.projections p ORDER BY p.name LOOP
			CONTINUE WHEN random() < 0.5;
			PERFORM evstore.set_projection(name, shards => 1 + (random() * 6)::integer);
			COMMIT;
		END LOOP;
	END LOOP;
END
$$;
CALL change_shards(6);
CALL append_some(50);
SELECT evstore.wait_for_all();
SELECT * FROM differences() WHERE differences <> 0;
SELECT name FROM evstore.projections, LATERAL evstore.verify_projection(name);

-- A shard that lags is brought to the others by whoever changes their number.
SELECT evstore.set_projection('handler', shards => 3);
CREATE TABLE bad (stream text PRIMARY KEY);
CREATE OR REPLACE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	IF e.stream IN (SELECT stream FROM bad) THEN
		RAISE 'stream % is bad', e.stream;
	END IF;
	INSERT INTO of_handler AS h VALUES (e.stream, 1, ARRAY[e.version])
	ON CONFLICT (stream) DO UPDATE SET n = h.n + 1, versions = h.versions || EXCLUDED.versions;
END
$$;
INSERT INTO bad VALUES ('s-7');
SELECT evstore.set_projection('handler', retries => 0);
CALL append_some(100);
CALL until($$state = 'stopped' FROM evstore.projections WHERE name = 'handler'$$);
-- One shard stops, the others do not: all streams but those of that shard go on.
CALL until($$count(*) = 2 FROM evstore._checkpoint c JOIN evstore._projection p ON p.id = c.projection
	WHERE p.name = 'handler' AND NOT c.stopped AND (evstore._projection_progress(p.id)).position = (SELECT max(position) FROM events)$$);
SELECT p.state, e.stream, p.lag_events > 0 AS lags, split_part(p.last_error, E'\n', 1) AS error
FROM evstore.projections p JOIN events e ON e.position = p.failed_position WHERE p.name = 'handler';
SELECT count(*) AS behind FROM of_handler h JOIN (SELECT stream, count(*) AS n FROM events GROUP BY stream) e ON e.stream IS NOT DISTINCT FROM h.stream
WHERE e.n > h.n AND NOT EXISTS (SELECT FROM evstore._projection p WHERE p.name = 'handler'
	AND evstore._in_shard(evstore._hash(0, e.stream), p.shard, 3) AND evstore._in_shard(evstore._hash(0, 's-7'::text), p.shard, 3));
SELECT evstore.wait_for('handler', timeout => '10 ms');
SELECT evstore.set_projection('handler', shards => 2);
DELETE FROM bad;
SELECT evstore.set_projection('handler', shards => 2);
-- Each shard is verified where it stands.
SELECT count(*) AS differing FROM evstore.verify_projection('handler');
SELECT evstore.retry_projection('handler');
SELECT evstore.set_projection('handler', shards => 2);
SELECT evstore.wait_for('handler');
SELECT * FROM differences() WHERE differences <> 0;

-- Parked streams are those of one shard; one is replayed by its name.
SELECT evstore.set_projection('handler', on_error => 'park');
INSERT INTO bad VALUES ('s-1'), ('s-2'), ('s-3');
CALL append_some(100);
SELECT evstore.wait_for('handler');
SELECT state, parked_streams, skipped_events > 3 AS skipped FROM evstore.projections WHERE name = 'handler';
SELECT array_agg(DISTINCT stream ORDER BY stream) AS streams, count(*) - count(DISTINCT position) AS twice FROM evstore.skipped_events WHERE projection = 'handler';
SELECT evstore.set_projection('handler', shards => 3);
DELETE FROM bad;
SELECT count(*) AS differing FROM evstore.verify_projection('handler');
SELECT evstore.replay_parked('handler', stream) > 0 AS replayed FROM unnest('{s-1, s-2, s-3}'::text[]) stream;
SELECT evstore.replay_parked('handler', 's-1');
SELECT evstore.wait_for('handler');
SELECT parked_streams, skipped_events FROM evstore.projections WHERE name = 'handler';
SELECT * FROM differences() WHERE differences <> 0;

-- An event of which no key can be computed is every shard's, and shown once.
SELECT evstore.create_projection('skipping', shards => 3, on_error => 'skip', retries => 0, query =>
	'SELECT (data->>''number'')::integer AS number, count(*) AS n FROM events WHERE type = ''Numbered'' GROUP BY 1');
SELECT count(evstore.append('n-1', 'Numbered', jsonb_build_object('number', CASE WHEN g = 4 THEN 'four' ELSE g::text END))) FROM generate_series(1, 9) g;
SELECT evstore.wait_for('skipping');
SELECT skipped_events, parked_streams, failures FROM evstore.projections WHERE name = 'skipping';
SELECT stream, version, type, parked, sqlstate FROM evstore.skipped_events WHERE projection = 'skipping';
SELECT array_agg(number ORDER BY number) FROM skipping;
SELECT evstore.set_projection('skipping', shards => 2);
SELECT skipped_events FROM evstore.projections WHERE name = 'skipping';
SELECT count(*) FROM evstore.skipped_events WHERE projection = 'skipping';
-- What a condition leaves out has no key that matters.
SELECT evstore.create_projection('guarded', shards => 3, query =>
	'SELECT (data->>''number'')::integer AS number, count(*) AS n FROM events WHERE data->>''number'' ~ ''^\d+$'' GROUP BY 1');
SELECT evstore.wait_for('guarded');
SELECT count(*), sum(n) FROM guarded;

-- Several event tables, in a query and in a statement.
SELECT evstore.create_event_table('other');
SELECT evstore.create_projection('two_tables', shards => 3, query =>
	'SELECT b.stream, count(*) AS n FROM (SELECT stream FROM events WHERE type <> ''t1'' UNION ALL SELECT stream FROM other) b GROUP BY b.stream');
CREATE TABLE of_both (stream text, n bigint);
SELECT evstore.create_projection('two_stated', shards => 3, statement =>
	'INSERT INTO of_both SELECT stream, 1 FROM new_events; INSERT INTO of_both SELECT stream, 100 FROM new_other');
SELECT count(evstore.append('s-' || g % 30, 't1', '{}', event_table => 'other')) FROM generate_series(1, 100) g;
CALL append_some(30);
SELECT evstore.wait_for('{two_tables, two_stated}'::text[]);
SELECT count(*) FROM (SELECT stream, n FROM two_tables EXCEPT SELECT stream, count(*) FROM
	(SELECT stream FROM events WHERE type <> 't1' UNION ALL SELECT stream FROM other) b GROUP BY stream) d;
SELECT sum(n) - (SELECT count(*) FROM events) - 100 * (SELECT count(*) FROM other) AS differing FROM of_both;
SELECT evstore.set_projection('two_tables', shards => 2), evstore.set_projection('two_stated', shards => 1);
SELECT count(*) FROM evstore.verify_projection('two_tables');
SELECT evstore.drop_projection('two_tables'), evstore.drop_projection('two_stated');

-- All of it is held, and goes on.
SELECT evstore.pause_projection('by_key_3');
CALL append_some(10);
SELECT evstore.wait_for('by_key_2');
SELECT state, lag_events > 0 AS lags FROM evstore.projections WHERE name = 'by_key_3';
SELECT count(*) FROM evstore.verify_projection('by_key_3');
SELECT evstore.resume_projection('by_key_3');
SELECT evstore.wait_for('by_key_3');
SELECT state, lag_events FROM evstore.projections WHERE name = 'by_key_3';

-- One's own writes are all shards' to have applied.
SET evstore.read_your_writes = on;
CALL append_some(5);
SELECT sum(n) = (SELECT count(*) FROM events) AS fresh FROM by_key_3;
SELECT sum(n) = (SELECT count(*) FROM events) AS fresh FROM of_handler;
RESET evstore.read_your_writes;

-- What is wrong in any shard is found, and mended.
SELECT evstore.set_projection('by_key_3', shards => 3), evstore.set_projection('statement', shards => 3);
UPDATE by_key_3 SET n = n + 1;
DELETE FROM of_statement WHERE "position" % 5 = 0;
UPDATE of_handler SET n = n * 2;
SELECT (SELECT count(*) FROM by_key_3) - (SELECT count(*) FROM evstore.verify_projection('by_key_3')) AS not_found;
SELECT count(*) BETWEEN 1 AND (SELECT count(*) - 1 FROM by_key_3) AS sampled FROM evstore.verify_projection('by_key_3', 0.5);
SELECT count(*) > 0 AS found FROM evstore.verify_projection('statement');
SELECT count(actual) - (SELECT count(*) FROM of_handler) AS not_found FROM evstore.verify_projection('handler');
BEGIN;
SELECT evstore.rebuild_projection(name) FROM unnest('{by_key_3, statement, handler, skipping}'::text[]) name;
SAVEPOINT rebuilding;
SELECT evstore.set_projection('by_key_3', shards => 2);
ROLLBACK TO rebuilding;
COMMIT;
CALL append_some(20);
CALL until('count(*) = 0 FROM evstore.rebuild_progress');
SELECT evstore.wait_for_all();
SELECT * FROM differences() WHERE differences <> 0 AND name <> 'statement';
SELECT count(*) AS events, count(DISTINCT "position") - (SELECT count(*) FROM events) AS lacking FROM of_statement \gset
SELECT :lacking AS lacking, :events - (SELECT count(*) FROM events) AS twice;
SELECT name FROM evstore.projections, LATERAL evstore.verify_projection(name) WHERE name <> 'skipping';
SELECT name, shards, skipped_events FROM evstore.projections WHERE name IN ('by_key_3', 'statement', 'handler', 'skipping') ORDER BY name;

-- The past, and another definition.
SELECT position AS middle FROM events ORDER BY position OFFSET 250 LIMIT 1 \gset
SELECT count(*) FROM (SELECT k, n FROM evstore.projection_as_of(NULL::by_key_3, "position" => :middle)
	EXCEPT SELECT data->>'k', count(*) FROM events WHERE position <= :middle GROUP BY 1) d;
SELECT count(*) FROM (SELECT stream, n FROM evstore.projection_as_of(NULL::of_handler, "position" => :middle)
	EXCEPT SELECT stream, count(*) FROM events WHERE position <= :middle GROUP BY 1) d;
SELECT evstore.replace_projection('by_key_3', query => 'SELECT data->>''k'' AS k, count(*) AS n, min(type) AS least FROM events GROUP BY 1');
SELECT evstore.replace_projection('statement', statement =>
	'INSERT INTO of_statement SELECT position, stream FROM new_events WHERE type <> ''t0''');
CALL append_some(20);
CALL until('count(*) = 0 FROM evstore.rebuild_progress');
CALL append_some(20);
SELECT evstore.wait_for_all();
SELECT count(*) FROM (SELECT k, n, least FROM by_key_3 EXCEPT SELECT data->>'k', count(*), min(type) FROM events GROUP BY 1) d;
SELECT count(*) - count(DISTINCT s.position) AS twice, count(*) - (SELECT count(*) FROM events WHERE type <> 't0') AS lacking FROM of_statement s;
SELECT evstore.drop_projection('by_key_3');

-- What cannot be divided.
SELECT evstore.create_projection('refused', shards => 2, query => 'SELECT count(*) AS n FROM events');
SELECT evstore.create_projection('refused', shards => 2, query => 'SELECT (data->>''x'')::bit(8) AS bits, count(*) AS n FROM events GROUP BY 1');
SELECT evstore.create_projection('refused', shards => 2, query => 'SELECT ARRAY[(data->>''x'')::money] AS prices, count(*) AS n FROM events GROUP BY 1');
SELECT evstore.create_projection('refused', shards => 0, query => 'SELECT type, count(*) AS n FROM events GROUP BY 1');
SELECT evstore.create_projection('refused', shards => 65, query => 'SELECT type, count(*) AS n FROM events GROUP BY 1');
SELECT evstore.create_projection('refused', shards => 2, mode => 'inline', query => 'SELECT type, count(*) AS n FROM events GROUP BY 1');
SELECT evstore.create_projection('refused', shards => 2, on_error => 'park', query => 'SELECT type, count(*) AS n FROM events GROUP BY 1');
SELECT evstore.set_projection('by_two_3', on_error => 'park');
SELECT evstore.set_projection('by_two_3', mode => 'inline');
SELECT evstore.set_projection('by_two_3', shards => 100);
SELECT evstore.create_projection('refused', shards => 2, statement =>
	'INSERT INTO of_statement SELECT position, stream FROM regress_projection_shards.new_events');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT evstore.set_projection('by_two_3', shards => 9);
ROLLBACK;
SELECT evstore.create_projection('inline', mode => 'inline', query => 'SELECT type, count(*) AS n FROM events GROUP BY 1');
SELECT evstore.set_projection('inline', shards => 2);
SELECT evstore.set_projection('inline', mode => 'async', shards => 2);
SELECT evstore.set_projection('inline', mode => 'inline', shards => 1);
CALL append_some(10);
SELECT sum(n) - (SELECT count(*) FROM events) AS differing FROM inline;
SELECT name FROM evstore.projections WHERE name = 'refused';
-- Nor can what reads the batch of all shards behind the statement's back; nothing is applied then.
CREATE TABLE of_function (n bigint);
CREATE FUNCTION count_events() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM regress_projection_shards.new_events';
CREATE FUNCTION count_own_events() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM new_events); END';
SELECT evstore.create_projection('whole', shards => 2, statement => 'INSERT INTO of_function SELECT count_events()');
CALL until($$state = 'failing' FROM evstore.projections WHERE name = 'whole'$$);
SELECT split_part(last_error, E'\n', 1) AS error FROM evstore.projections WHERE name = 'whole';
SELECT evstore.drop_projection('whole');
SELECT evstore.create_projection('own', shards => 2, statement => 'INSERT INTO of_function SELECT count_own_events()');
SELECT evstore.wait_for('own');
SELECT sum(n) - (SELECT count(*) FROM events) AS differing FROM of_function;

-- A dump that comes to another kind of server has other hashes: then nothing goes on before it is built anew.
UPDATE evstore._projection SET hashes = hashes + 1 WHERE name = 'by_key_2';
SELECT evstore.pause_projection('by_key_2'), evstore.resume_projection('by_key_2');
CALL append_some(10);
CALL until($$state = 'failing' FROM evstore.projections WHERE name = 'by_key_2'$$);
SELECT split_part(last_error, E'\n', 1) AS error FROM evstore.projections WHERE name = 'by_key_2';
SELECT * FROM evstore.verify_projection('by_key_2');
SELECT evstore.rebuild_projection('by_key_2');
CALL until('count(*) = 0 FROM evstore.rebuild_progress');
SELECT evstore.wait_for('by_key_2');
SELECT name, differences FROM differences() WHERE name = 'by_key_2';

-- Upcasters change what shards read, and the keys by which a query is divided;
-- wherever the shards stand then, every event is still one shard's.
SET client_min_messages = warning;
SELECT evstore.create_event_table('upcast');
CREATE FUNCTION of_upcast(d jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$$ SELECT d || jsonb_build_object('k', 'new ' || ((d->>'x')::integer % 7)) $$;
CREATE TABLE upcast_statement (k text, "position" bigint);
CREATE TABLE upcast_handler (stream text, k text);
CREATE FUNCTION on_upcast(e evstore.event) RETURNS void LANGUAGE sql AS
$$ INSERT INTO upcast_handler VALUES (e.stream, e.data->>'k') $$;
CREATE PROCEDURE append_upcast(count integer) LANGUAGE sql AS
$$
	SELECT count(evstore.append('s-' || g % 20, 't' || g % 2, jsonb_build_object('x', g, 'k', 'old ' || g % 5),
		event_table => 'upcast')) FROM generate_series(1, count) g
$$;
SELECT evstore.create_projection('upcast_query', shards => 4, batch_size => 7,
	query => 'SELECT data->>''k'' AS k, count(*) AS n FROM upcast GROUP BY 1');
SELECT evstore.create_projection('upcast_statement', shards => 3, batch_size => 11,
	read_table => 'upcast_statement', statement => 'INSERT INTO upcast_statement SELECT data->>''k'', position FROM new_upcast');
CALL append_upcast(400);
SELECT evstore.create_upcaster('t0', 1, 'of_upcast', event_table => 'upcast');
SELECT evstore.create_projection('upcast_handler', handler => 'on_upcast', event_table => 'upcast',
	read_table => 'upcast_handler', shards => 3, batch_size => 13);
CALL append_upcast(400);
SELECT evstore.create_upcaster('t1', 1, 'of_upcast', event_table => 'upcast');
CALL append_upcast(400);
SELECT evstore.set_projection('upcast_statement', shards => 5);
SELECT evstore.drop_upcaster('t0', 1, event_table => 'upcast');
CALL append_upcast(400);
SELECT evstore.drop_upcaster('t1', 1, event_table => 'upcast');
CALL append_upcast(400);
SELECT evstore.create_upcaster('t1', 1, 'of_upcast', event_table => 'upcast');
SELECT count(evstore.wait_for(name)) FROM unnest('{upcast_query, upcast_statement, upcast_handler}'::text[]) name;
SELECT sum(n) FROM upcast_query;
SELECT count(*), count(DISTINCT "position") FROM upcast_statement;
SELECT count(*), count(DISTINCT stream) FROM upcast_handler;
SELECT evstore.rebuild_projection(name) FROM evstore.projections WHERE name LIKE 'upcast_%' ORDER BY name;
CALL until('count(*) = 0 FROM evstore.rebuild_progress');
SELECT count(evstore.wait_for(name)) FROM unnest('{upcast_query, upcast_statement, upcast_handler}'::text[]) name;
SELECT k, sum(n) FROM upcast_query GROUP BY k ORDER BY k;
SELECT k, count(*) FROM upcast_statement GROUP BY k ORDER BY k;
SELECT k, count(*) FROM upcast_handler GROUP BY k ORDER BY k;
SELECT evstore.drop_upcaster('t1', 1, event_table => 'upcast');

SELECT line FROM evstore.explain_projection('by_key_2') WITH ORDINALITY e(line, n) WHERE line ~ 'shards';
SELECT count(evstore.drop_projection(name)) > 20 AS dropped FROM evstore.projections;
SELECT count(*) FROM evstore._projection;
SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'evstore\_sha%';
SET client_min_messages = warning;
SET evstore.maintenance = on;
DROP SCHEMA regress_projection_shards CASCADE;
