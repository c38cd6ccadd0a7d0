-- evstore.append_if with ids: a retry is answered as it was the first time,
-- though its own events stand where the condition forbids them.

CREATE SCHEMA regress_append_if_retry;
SET search_path = regress_append_if_retry;
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT evstore.create_event_table();

-- events T with the tag "seat", one for each id (0: without one)
CREATE FUNCTION ev(VARIADIC ids integer[]) RETURNS evstore.new_event[] LANGUAGE sql AS $$
	SELECT array_agg(ROW('T', '{}', NULL, CASE WHEN i > 0 THEN lpad(i::text, 32, '0')::uuid END, '{seat}', NULL)::evstore.new_event
		ORDER BY n)
	FROM unnest(ids) WITH ORDINALITY u (i, n) $$;
\set seat '\'{"items": [{"tags": ["seat"]}]}\''
\set other '\'{"items": [{"tags": ["other"]}]}\''

-- Without a stream.
SELECT position AS first FROM evstore.append_if(ev(1), :seat) \gset
SELECT version, position = :first AS same FROM evstore.append_if(ev(1), :seat);
-- the condition is not asked again, whatever it is by now
SELECT version, position = :first AS same FROM evstore.append_if(ev(1), :other);
SELECT version, position = :first AS same FROM evstore.append_if(ev(1), '{}', 0);
-- another id, or none, is another append
SELECT * FROM evstore.append_if(ev(2), :seat);
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(0), :seat);
\echo :SQLSTATE

-- Many events.
SELECT position AS last FROM evstore.append_if(ev(11, 12, 13), :seat, :first) \gset
SELECT version, position = :last AS same FROM evstore.append_if(ev(11, 12, 13), :seat, :first);
-- a part of them, from the front, from the back, the middle
SELECT version, position = :last - 1 AS same FROM evstore.append_if(ev(11, 12), :seat, :first);
SELECT version, position = :last AS same FROM evstore.append_if(ev(12, 13), :seat, :first);
SELECT version, position = :last - 1 AS same FROM evstore.append_if(ev(12), :seat, :first);
-- more than there are, in another order, with a hole, twice the same
SELECT * FROM evstore.append_if(ev(11, 12, 13, 14), :seat, :first);
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(10, 11, 12, 13), :seat, :first);
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(12, 11), :seat, :first);
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(11, 13), :seat, :first);
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(11, 11), :seat, :first);
\echo :SQLSTATE
-- one has no id
SELECT * FROM evstore.append_if(ev(11, 0, 13), :seat, :first);
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(0, 12), :seat, :first);
\echo :SQLSTATE
-- a new id given twice
SELECT * FROM evstore.append_if(ev(21, 21), :other);
\echo :SQLSTATE

-- What is compared: the type, and that there is no stream; not data and tags.
SELECT * FROM evstore.append_if(ARRAY[ROW('U', '{}', NULL, lpad('1', 32, '0')::uuid, '{seat}', NULL)::evstore.new_event], :other);
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(1), :other, stream => 's-1');
\echo :SQLSTATE
SELECT * FROM evstore.append('s-1', ev(1));
\echo :SQLSTATE
SELECT version, position = :first AS same
FROM evstore.append_if(ARRAY[ROW('T', '{"new": 1}', '{}', lpad('1', 32, '0')::uuid, NULL, NULL)::evstore.new_event], :seat);
SELECT data, tags FROM events WHERE position = :first;

-- With a stream.
SELECT version, position AS in_stream FROM evstore.append_if(ev(31, 32), :other, stream => 's-1') \gset
SELECT :version AS version;
SELECT version, position = :in_stream AS same FROM evstore.append_if(ev(31, 32), :seat, stream => 's-1');
-- after the stream has gone on
SELECT version FROM evstore.append('s-1', 'T', '{}');
SELECT version, position = :in_stream AS same FROM evstore.append_if(ev(31, 32), :seat, stream => 's-1');
SELECT version, position = :in_stream AS same FROM evstore.append_if(ev(32), :seat, stream => 's-1');
SELECT * FROM evstore.append_if(ev(32, 33), :seat, stream => 's-1');
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(33, 31), :seat, stream => 's-1');
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(31, 32), :seat, stream => 's-2');
\echo :SQLSTATE
SELECT * FROM evstore.append_if(ev(31, 32), :seat);
\echo :SQLSTATE
-- by append(), which does the same
SELECT version, position = :in_stream AS same FROM evstore.append('s-1', ev(31, 32));
SELECT version, position = :in_stream AS same FROM evstore.append('s-1', ev(31, 32), expected_version => 0);
SELECT * FROM evstore.append('s-1', ev(31, 32), expected_version => 1);
\echo :SQLSTATE

-- A retry holds in the transaction that wrote it, and not after a rollback.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT position AS undone FROM evstore.append_if(ev(41), :other) \gset
SELECT version, position = :undone AS same FROM evstore.append_if(ev(41), :other);
SAVEPOINT s;
SELECT version, position = :undone AS same FROM evstore.append_if(ev(41, 42), :other);
\echo :SQLSTATE
ROLLBACK TO SAVEPOINT s;
SELECT version, position = :undone AS same FROM evstore.append_if(ev(41), :other);
ROLLBACK;
SELECT position > :undone AS written FROM evstore.append_if(ev(41), :other);
SELECT * FROM evstore.append_if(ev(42), :seat, :undone);
\echo :SQLSTATE

-- Of two appends: one behind the other is as good as one; with an event between them it is not.
SELECT version FROM evstore.append('s-2', ev(51));
SELECT version FROM evstore.append('s-2', ev(52));
SELECT version FROM evstore.append_if(ev(51, 52), :seat, stream => 's-2');
SELECT position AS one FROM evstore.append_if(ev(53), :other) \gset
SELECT version FROM evstore.append('s-2', 'T', '{}');
SELECT position - :one AS apart FROM evstore.append_if(ev(54), :other);
SELECT * FROM evstore.append_if(ev(53, 54), :other);
\echo :SQLSTATE

-- Through the executor's INSERT as well.
ALTER TABLE events ADD CHECK (type <> 'Bad');
SELECT version, position = :last AS same FROM evstore.append_if(ev(11, 12, 13), :seat, :first);
SELECT * FROM evstore.append_if(ev(13, 14), :seat, :first);
\echo :SQLSTATE
SELECT * FROM evstore.append('s-3', ev(1));
\echo :SQLSTATE

-- Nothing was written but what had to be.
SELECT stream, version, type, ltrim(id::text, '0-') AS id FROM events ORDER BY position;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append_if_retry CASCADE;
