-- evstore.read_your_writes: a SELECT on a read table waits until the session's own
-- last committed append is in it, by whatever way it reads the table. The
-- projection is slow, so that a statement that did not wait would see too little.

CREATE SCHEMA regress_fresh;
SET search_path = regress_fresh;
SELECT evstore.create_event_table();
CREATE TABLE slow ("position" bigint, stream text);
SELECT evstore.create_projection('regress_slow', read_table => 'slow', statement => $$
	INSERT INTO slow SELECT n."position", n.stream FROM new_events n, pg_sleep(0.03) $$);
SELECT evstore.create_projection('regress_fast', query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream');
CREATE FUNCTION place(stream text) RETURNS text LANGUAGE sql AS
	$$ SELECT 'version ' || version FROM evstore.append(stream, 'Step', '{}') $$;
-- Append to a stream and read its row, in turn; each append is a transaction of its own.
CREATE PROCEDURE in_turn(read_table regclass, stream text, times integer) LANGUAGE plpgsql AS
$$
DECLARE
	wanted bigint;
	seen bigint;
BEGIN
	FOR i IN 1 .. times LOOP
		wanted := (evstore.append(stream, 'Step', '{}')).version;
		COMMIT;
		EXECUTE format('SELECT events FROM %s r WHERE r.stream = $1', read_table) INTO seen USING stream;
		IF seen IS DISTINCT FROM wanted AND wanted > 1 THEN
			RAISE EXCEPTION '% shows % events in place of %', read_table, seen, wanted;
		END IF;
		COMMIT;
	END LOOP;
END
$$;

-- Off unless it is asked for.
SHOW evstore.read_your_writes;
SHOW evstore.read_your_writes_timeout;
SET evstore.read_your_writes = on;

-- Nothing appended, nothing to wait for.
SELECT count(*) FROM slow;

-- Directly, and of several read tables at once.
SELECT place('a');
SELECT count(*) FROM slow;
SELECT place('a');
SELECT stream, events, (SELECT count(*) FROM slow) AS slow FROM regress_fast;

-- Through a view of a view, a subquery, a CTE.
CREATE VIEW seen AS SELECT stream, count(*) AS n FROM slow GROUP BY stream;
CREATE VIEW seen_again AS SELECT * FROM seen;
SELECT place('a');
SELECT * FROM seen_again;
SELECT place('a');
WITH s AS MATERIALIZED (SELECT * FROM slow) SELECT (SELECT count(*) FROM s) AS n;

-- A read table that is a view over what is stored, and one that is kept inline.
SELECT evstore.create_projection('regress_view', query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream HAVING count(*) > 1');
SELECT relkind FROM pg_class WHERE oid = 'regress_view'::regclass;
CALL in_turn('regress_view', 'v', 100);
SELECT evstore.drop_projection('regress_view');
SELECT evstore.create_projection('regress_inline', mode => 'inline', query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream');
SELECT place('i');
SELECT events FROM regress_inline WHERE stream = 'i';
SELECT evstore.wait_for_all();
SELECT evstore.drop_projection('regress_inline');

-- With a plan that is kept.
PREPARE by_stream(text) AS SELECT count(*) FROM slow WHERE stream = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE by_stream('a');
SELECT place('a');
EXECUTE by_stream('a');
SELECT place('a');
EXECUTE by_stream('a');
SELECT generic_plans > 0 AS generic FROM pg_prepared_statements WHERE name = 'by_stream';
RESET plan_cache_mode;

-- In functions: one that is inlined, volatile ones, stable ones, also below a subtransaction.
CREATE FUNCTION inlined() RETURNS SETOF slow LANGUAGE sql STABLE AS $$ SELECT * FROM slow $$;
CREATE FUNCTION volatile_sql() RETURNS bigint LANGUAGE sql VOLATILE AS
	$$ SELECT 0; SELECT count(*) FROM slow; SELECT count(*) FROM slow $$;
CREATE FUNCTION stable_sql() RETURNS bigint LANGUAGE sql STABLE SET work_mem = '4MB' AS
	$$ SELECT count(*) FROM slow $$;
CREATE FUNCTION rows_sql() RETURNS SETOF text LANGUAGE sql VOLATILE AS
	$$ SELECT stream FROM slow GROUP BY stream ORDER BY stream $$;
CREATE FUNCTION volatile_pl() RETURNS bigint LANGUAGE plpgsql VOLATILE AS
	$$ BEGIN RETURN (SELECT count(*) FROM slow); END $$;
CREATE FUNCTION stable_pl() RETURNS bigint LANGUAGE plpgsql STABLE AS
	$$ DECLARE n bigint; BEGIN SELECT count(*) INTO n FROM slow; RETURN n; END $$;
CREATE FUNCTION below_savepoint() RETURNS bigint LANGUAGE plpgsql STABLE AS
	$$ DECLARE n bigint; BEGIN
		BEGIN
			SELECT count(*) INTO n FROM slow;
			RAISE EXCEPTION 'found %', n;
		EXCEPTION WHEN raise_exception THEN
			n := replace(SQLERRM, 'found ', '')::bigint;
		END;
		RETURN n;
	END $$;
CREATE FUNCTION looping() RETURNS bigint LANGUAGE plpgsql AS
	$$ DECLARE r record; n bigint := 0; BEGIN
		FOR r IN SELECT * FROM slow LOOP n := n + 1; END LOOP;
		RETURN n;
	END $$;
SELECT place('a');
SELECT count(*) FROM inlined();
SELECT place('a');
SELECT volatile_sql();
SELECT place('a');
SELECT stable_sql();
SELECT place('b');
SELECT rows_sql();
SELECT place('a');
SELECT volatile_pl();
SELECT place('a');
SELECT stable_pl();
SELECT place('a');
SELECT below_savepoint(), stable_pl() FROM generate_series(1, 2);
SELECT place('a');
SELECT looping();
SELECT place('a');
DO $$ BEGIN RAISE NOTICE 'seen: %', stable_pl(); END $$;

-- Appends and reads in turn, each append a transaction of its own.
CALL in_turn('regress_fast', 'a', 200);
SELECT count(*) - (SELECT count(*) FROM events) AS missing FROM slow;

-- Cursors, COPY, CREATE TABLE AS.
SELECT place('b');
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT count(*) FROM slow WHERE stream = 'b';
FETCH c;
FETCH BACKWARD c;
MOVE ABSOLUTE 0 IN c;
FETCH c;
COMMIT;
SELECT place('b');
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT count(*) FROM slow WHERE stream = 'b';
COMMIT;
FETCH h;
CLOSE h;
SELECT place('b');
COPY (SELECT count(*) FROM slow WHERE stream = 'b') TO STDOUT;
SELECT place('b');
CREATE TABLE kept AS SELECT count(*) FROM slow WHERE stream = 'b';
SELECT * FROM kept;

-- A parallel query: its workers see what the leader sees, also in a table that one of them reads alone.
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
ALTER TABLE slow SET (parallel_workers = 0);
EXPLAIN (COSTS OFF) SELECT count(*) FROM (SELECT stream FROM slow UNION ALL SELECT 'b' FROM kept) s WHERE stream = 'b';
SELECT place('b');
SELECT count(*) FROM (SELECT stream FROM slow UNION ALL SELECT 'b' FROM kept) s WHERE stream = 'b';
CREATE FUNCTION parallel_pl() RETURNS SETOF bigint LANGUAGE plpgsql AS
	$$ BEGIN RETURN QUERY SELECT count(*) FROM (SELECT stream FROM slow UNION ALL SELECT 'b' FROM kept) s WHERE stream = 'b'; END $$;
SELECT place('b');
SELECT parallel_pl();
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET parallel_leader_participation;

-- In a transaction that has appended: what was committed before it is waited for, its own is not.
SELECT place('c');
BEGIN;
SELECT place('c');
SELECT count(*) FROM slow WHERE stream = 'c';
COMMIT;
SELECT count(*) FROM slow WHERE stream = 'c';
-- What was rolled back is not waited for in vain.
BEGIN;
SELECT place('c');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT place('c');
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM slow WHERE stream = 'c';

-- Plain INSERT appends, too.
INSERT INTO events (stream, type, data) SELECT 'd', 'Step', '{}' FROM generate_series(1, 3);
SELECT count(*) FROM slow WHERE stream = 'd';

-- Where it cannot come: an error of its own, at the time-out. (The detail names a position.)
SELECT evstore.wait_for_all();
SELECT evstore.pause_projection('regress_slow');
SELECT count(*) FROM slow WHERE stream = 'd';
SELECT place('d');
SET evstore.read_your_writes_timeout = '20ms';
\set VERBOSITY terse
SELECT count(*) FROM slow WHERE stream = 'd';
\echo :SQLSTATE
EXPLAIN ANALYZE SELECT count(*) FROM slow;
\echo :SQLSTATE
-- It can be caught, and the table then be read as it is.
DO $$
BEGIN
	PERFORM count(*) FROM slow;
EXCEPTION WHEN SQLSTATE 'VE006' THEN
	PERFORM set_config('evstore.read_your_writes', 'off', true);
	RAISE NOTICE 'as it is: %', (SELECT count(*) FROM slow WHERE stream = 'd');
END
$$;
\set VERBOSITY default
-- Other tables, other read tables, and what reads nothing are not held up.
SELECT count(*) FROM events WHERE stream = 'd';
SELECT events FROM regress_fast WHERE stream = 'd';
EXPLAIN (COSTS OFF) SELECT FROM slow WHERE stream = 'd';
SELECT count(*) FROM pg_class WHERE oid = 'slow'::regclass;
-- Nor is a transaction with one snapshot for all its statements, nor a statement that writes.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM slow WHERE stream = 'd';
COMMIT;
CREATE TABLE copied (n bigint);
INSERT INTO copied SELECT count(*) FROM slow WHERE stream = 'd';
-- Off is off.
SET evstore.read_your_writes = off;
SELECT count(*) FROM slow WHERE stream = 'd';
SET evstore.read_your_writes = on;
-- Resumed, it comes.
RESET evstore.read_your_writes_timeout;
SELECT evstore.resume_projection('regress_slow');
SELECT count(*) FROM slow WHERE stream = 'd';
-- statement_timeout interrupts it like any statement.
SELECT evstore.pause_projection('regress_slow');
SELECT place('d');
SET statement_timeout = '50ms';
SELECT count(*) FROM slow;
\echo :SQLSTATE
RESET statement_timeout;

-- The table of a projection that is gone is nobody's read table.
SELECT evstore.drop_projection('regress_slow');
SELECT count(*) FROM slow WHERE stream = 'd';
-- A new projection is noticed; a transaction that has declared it does not wait for it.
BEGIN;
SELECT evstore.create_projection('regress_types', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT count(*) FROM regress_types;
COMMIT;
SELECT n - (SELECT count(*) FROM events) AS missing FROM regress_types;

-- A reader who may read the table and nothing else.
CREATE ROLE regress_fresh_reader;
GRANT USAGE ON SCHEMA regress_fresh TO regress_fresh_reader;
GRANT SELECT ON regress_types TO regress_fresh_reader;
SELECT place('d');
SET ROLE regress_fresh_reader;
SELECT count(*) FROM regress_types;
RESET ROLE;

SELECT evstore.drop_projection(name) FROM evstore.projections WHERE name LIKE 'regress%';
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_fresh CASCADE;
DROP ROLE regress_fresh_reader;
