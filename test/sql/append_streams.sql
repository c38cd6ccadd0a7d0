-- evstore.append_streams: several streams in one call, all or none, each under
-- its own expected version; and expect_version, which writes nothing.

CREATE SCHEMA regress_append_streams;
SET search_path = regress_append_streams;
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT evstore.create_event_table();

-- n events; with an id, they have ids from there on
CREATE FUNCTION ev(n integer, id integer DEFAULT NULL) RETURNS evstore.new_event[] LANGUAGE sql AS $$
	SELECT array_agg(ROW('T', to_jsonb(g), NULL, lpad((id + g - 1)::text, 32, '0')::uuid, NULL, NULL)::evstore.new_event ORDER BY g)
	FROM generate_series(1, n) g $$;
-- the same call, and its result in the order in which it comes, positions counted from the first
CREATE FUNCTION go(appends evstore.stream_append[])
RETURNS TABLE (n bigint, stream text, version bigint, "position" bigint) LANGUAGE sql AS $$
	SELECT a.n, a.stream, a.version, a.position - (min(a.position) OVER () - 1)
	FROM evstore.append_streams(appends) WITH ORDINALITY a (stream, version, "position", n) ORDER BY a.n $$;

-- Results stand in the order of the array, positions are consecutive, in that order too.
SELECT * FROM go(ARRAY[('b', ev(2), NULL), ('a', ev(1), NULL), ('c-1', ev(3), 0)]::evstore.stream_append[]);
SELECT stream, version, data, position - min(position) OVER () AS position, recorded_at = min(recorded_at) OVER () AS same_time
FROM events ORDER BY position;
SELECT version FROM evstore.append('d', 'T', '{}');

-- Each has its own expectation: the version it is at, 0 for none, -1 for some, NULL for any.
SELECT * FROM go(ARRAY[('a', ev(1), 1), ('b', ev(1), -1), ('e', ev(2), 0), ('f', ev(1), NULL), ('d', ev(1), NULL)]::evstore.stream_append[]);
SELECT * FROM go(ARRAY[('a', ev(1), 2), ('b', ev(1), 2)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ev(1), 3), ('b', ev(1), 3)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ev(1), 2), ('b', ev(1), 0)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ev(1), 2), ('g', ev(1), -1)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('g', ev(1), 1), ('a', ev(1), 2)]::evstore.stream_append[]);
\echo :SQLSTATE
-- none of these wrote anything
SELECT stream, max(version) AS version, count(*) FROM events GROUP BY stream ORDER BY stream;

-- An element without events holds its stream: no position, the version it is at.
SELECT * FROM go(ARRAY[('a', ev(1), 2), ('b', NULL, 3), ('g', NULL, 0), ('c-1', '{}', -1)]::evstore.stream_append[]);
SELECT * FROM go(ARRAY[('b', NULL, 3)]::evstore.stream_append[]);
SELECT * FROM go(ARRAY[('a', ev(1), 3), ('b', NULL, 2)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('g', NULL, -1), ('a', ev(1), 3)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ev(1), 3), ('b', '{}', 0)]::evstore.stream_append[]);
\echo :SQLSTATE
-- it must say what it expects
SELECT * FROM go(ARRAY[('a', ev(1), 3), ('b', NULL, NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('b', '{}', NULL)]::evstore.stream_append[]);
\echo :SQLSTATE

-- What is no array of appends.
SELECT * FROM evstore.append_streams(NULL);
\echo :SQLSTATE
SELECT * FROM evstore.append_streams('{}');
\echo :SQLSTATE
SELECT * FROM evstore.append_streams(ARRAY[NULL]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM evstore.append_streams(ARRAY[('a', ev(1), NULL), NULL]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM evstore.append_streams(ARRAY[[('a', ev(1), NULL)], [('b', ev(1), NULL)]]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[(NULL, ev(1), NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('', ev(1), NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[(repeat('x', 2049), ev(1), NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ev(1), -2)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ARRAY[NULL]::evstore.new_event[], NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ARRAY[ev(1)], NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ARRAY[('T', NULL, NULL, NULL, NULL, NULL)]::evstore.new_event[], NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
-- no stream twice: with events, or without
SELECT * FROM go(ARRAY[('a', ev(1), NULL), ('b', ev(1), NULL), ('a', ev(1), NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('a', ev(1), 3), ('a', NULL, 3)]::evstore.stream_append[]);
\echo :SQLSTATE
-- a name is as long as it is
SELECT * FROM go(ARRAY[('x', ev(1), 0), ('xx', ev(1), 0), ('X', ev(1), 0), ('x ', ev(1), 0)]::evstore.stream_append[]);
BEGIN READ ONLY;
SELECT * FROM go(ARRAY[('a', ev(1), NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
ROLLBACK;
-- the bounds of the array do not matter
SELECT stream, version FROM evstore.append_streams('[3:4]={"(y,,0)","(x,,1)"}');

-- Retries: all streams, some, none.
SELECT stream, version, position AS p FROM evstore.append_streams(ARRAY[('r-1', ev(2, 11), 0), ('r-2', ev(1, 21), NULL)]::evstore.stream_append[])
ORDER BY position DESC LIMIT 1 \gset
SELECT stream, version, position - :p AS position
FROM evstore.append_streams(ARRAY[('r-1', ev(2, 11), 0), ('r-2', ev(1, 21), NULL)]::evstore.stream_append[]);
-- in another order, after the streams have gone on, by append()
SELECT * FROM go(ARRAY[('r-1', ev(1), 2), ('r-2', ev(1), 1)]::evstore.stream_append[]);
SELECT stream, version, position - :p AS position
FROM evstore.append_streams(ARRAY[('r-2', ev(1, 21), 0), ('r-1', ev(2, 11), -1)]::evstore.stream_append[]);
SELECT version, position - :p AS position FROM evstore.append('r-1', ev(2, 11), 0);
-- one stream of the call alone
SELECT stream, version, position - :p AS position FROM evstore.append_streams(ARRAY[('r-2', ev(1, 21), 0)]::evstore.stream_append[]);
-- with a held stream: what was held is not asked again
SELECT stream, version, position - :p AS position
FROM evstore.append_streams(ARRAY[('a', NULL, 1), ('r-1', ev(2, 11), 0)]::evstore.stream_append[]);
-- some streams are stored, others are not
SELECT * FROM go(ARRAY[('r-1', ev(2, 11), 0), ('r-3', ev(1, 31), 0)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('r-3', ev(1, 31), NULL), ('r-2', ev(1, 21), NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
-- or have no ids
SELECT * FROM go(ARRAY[('r-1', ev(2, 11), 0), ('r-3', ev(1), 0)]::evstore.stream_append[]);
\echo :SQLSTATE
-- some events of a stream
SELECT * FROM go(ARRAY[('r-1', ev(3, 11), 0), ('r-2', ev(1, 21), 0)]::evstore.stream_append[]);
\echo :SQLSTATE
-- the ids stand in the other stream
SELECT * FROM go(ARRAY[('r-1', ev(1, 21), NULL), ('r-2', ev(2, 11), NULL)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('r-3', ev(2, 11), 0), ('r-4', ev(1, 21), 0)]::evstore.stream_append[]);
\echo :SQLSTATE
-- one id in two streams
SELECT * FROM go(ARRAY[('r-3', ev(1, 31), 0), ('r-4', ev(1, 31), 0)]::evstore.stream_append[]);
\echo :SQLSTATE
-- none is stored
SELECT * FROM go(ARRAY[('r-1', ev(1, 41), 0), ('r-3', ev(1, 31), 0)]::evstore.stream_append[]);
\echo :SQLSTATE
SELECT * FROM go(ARRAY[('r-1', ev(1, 41), 3), ('r-3', ev(1, 31), 0)]::evstore.stream_append[]);
SELECT stream, version, ltrim(id::text, '-0') AS id FROM events WHERE stream LIKE 'r-%' ORDER BY stream, version;

-- expect_version: each meaning, and what it is not.
SELECT count(*) AS events FROM events \gset
SELECT evstore.expect_version('a', 3);
SELECT evstore.expect_version('a', -1);
SELECT evstore.expect_version('nobody', 0);
SELECT evstore.expect_version('a', 2);
\echo :SQLSTATE
SELECT evstore.expect_version('a', 4);
\echo :SQLSTATE
SELECT evstore.expect_version('a', 0);
\echo :SQLSTATE
SELECT evstore.expect_version('nobody', 1);
\echo :SQLSTATE
SELECT evstore.expect_version('nobody', -1);
\echo :SQLSTATE
SELECT evstore.expect_version('a', NULL);
\echo :SQLSTATE
SELECT evstore.expect_version('a', -2);
\echo :SQLSTATE
SELECT evstore.expect_version(NULL, 1);
\echo :SQLSTATE
SELECT evstore.expect_version('', 1);
\echo :SQLSTATE
SELECT evstore.expect_version('a', 3, 'pg_class');
\echo :SQLSTATE
BEGIN READ ONLY;
SELECT evstore.expect_version('a', 3);
\echo :SQLSTATE
ROLLBACK;
-- it wrote nothing and took no position
SELECT count(*) = :events AS same FROM events;
BEGIN;
SELECT evstore.expect_version('a', 3);
SELECT count(*) FROM evstore.appenders;
COMMIT;
-- under every isolation level, also about one's own events
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT evstore.expect_version('a', 3);
SELECT version FROM evstore.append('a', 'T', '{}', expected_version => 3);
SELECT evstore.expect_version('a', 4);
SELECT * FROM go(ARRAY[('a', NULL, 4), ('b', ev(1), 3)]::evstore.stream_append[]);
SELECT evstore.expect_version('b', 3);
\echo :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT evstore.expect_version('nobody', 0);
SELECT * FROM go(ARRAY[('nobody', ev(1), 0), ('a', ev(1), 3)]::evstore.stream_append[]);
SELECT evstore.expect_version('nobody', 1), evstore.expect_version('a', 4);
COMMIT;
SELECT evstore.expect_version('nobody', 1), evstore.expect_version('a', 4);
-- an expectation of a rolled back savepoint holds nothing
BEGIN;
SAVEPOINT s;
SELECT evstore.expect_version('a', 4);
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
ROLLBACK TO SAVEPOINT s;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

-- Another table, and one that takes its events by the executor's INSERT.
SELECT evstore.create_event_table('others');
ALTER TABLE others ADD CHECK (stream <> 'bad');
SELECT stream, version FROM evstore.append_streams(ARRAY[('b', ev(1), 0), ('a', ev(2), 0), ('c', NULL, 0)]::evstore.stream_append[], 'others');
SELECT stream, version FROM evstore.append_streams(ARRAY[('a', ev(1), 2), ('bad', ev(1), 0)]::evstore.stream_append[], 'others');
\echo :SQLSTATE
SET evstore.event_table = 'others';
SELECT * FROM go(ARRAY[('a', ev(1, 71), 2), ('b', ev(1, 72), 1)]::evstore.stream_append[]);
SELECT * FROM go(ARRAY[('a', ev(1, 71), 2), ('b', ev(1, 72), 1)]::evstore.stream_append[]);
SELECT evstore.expect_version('a', 3), evstore.expect_version('bad', 0);
SELECT stream, version, position - min(position) OVER () AS position FROM others ORDER BY others.position LIMIT 3;

-- Many streams: each has its own place, and so many locks at most.
RESET evstore.event_table;
BEGIN;
SELECT count(*), count(DISTINCT stream), min(version), max(version), max(position) - min(position) AS span
FROM evstore.append_streams((SELECT array_agg(('many-' || g, ev(1), 0)::evstore.stream_append) FROM generate_series(1, 3000) g));
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
SELECT count(*) = 3000 AS held
FROM evstore.append_streams((SELECT array_agg(('many-' || g, NULL, 1)::evstore.stream_append) FROM generate_series(1, 3000) g));
SELECT count(*) <= 1024 + 64 AS bounded FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append_streams CASCADE;
