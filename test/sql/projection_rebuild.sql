-- Rebuilding projections: whatever was done to the read table is mended, and the
-- table is still the same table.

CREATE SCHEMA regress_projection_rebuild;
SET search_path = regress_projection_rebuild;
SELECT evstore.create_event_table();

-- Waits until a rebuild is over, one way or the other.
CREATE FUNCTION rebuilt(name text) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
	FOR i IN 1..6000 LOOP
		IF NOT EXISTS (SELECT FROM evstore.rebuild_progress WHERE projection = name) THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END
$$;
-- Waits until it cannot go on.
CREATE FUNCTION rebuild_fails(name text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	error text;
BEGIN
	FOR i IN 1..6000 LOOP
		SELECT split_part(last_error, E'\n', 1) INTO error FROM evstore.rebuild_progress WHERE projection = name AND state = 'failing';
		EXIT WHEN FOUND;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN error;
END
$$;

SELECT evstore.create_projection('by_kind', query => $$
	SELECT data->>'kind' AS kind, type, count(*) AS n, sum((data->>'x')::numeric) AS x,
		avg((data->>'x')::numeric) AS average, evstore.last(data->>'x', position) AS last
	FROM events GROUP BY data->>'kind', type$$);
SELECT evstore.create_projection('streams', batch_size => 7, query => 'SELECT stream FROM events GROUP BY stream');
CREATE TABLE line (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, serial serial, "position" bigint, payload json);
CREATE TABLE per_stream (stream text PRIMARY KEY, n bigint CHECK (n > 0), twice bigint GENERATED ALWAYS AS (2 * n) STORED);
SELECT evstore.create_projection('tables', batch_size => 10, read_tables => '{line, per_stream}', statement => $$
	INSERT INTO line ("position", payload) SELECT position, data::json FROM new_events;
	INSERT INTO per_stream AS s SELECT stream, count(*) FROM new_events GROUP BY stream
	ON CONFLICT (stream) DO UPDATE SET n = s.n + EXCLUDED.n$$);
CREATE TABLE balance (stream text PRIMARY KEY, balance numeric NOT NULL);
CREATE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	INSERT INTO balance AS b VALUES (e.stream, (e.data->>'x')::numeric)
	ON CONFLICT (stream) DO UPDATE SET balance = b.balance + EXCLUDED.balance;
END
$$;
SELECT evstore.create_projection('balance', handler => 'on_event', read_table => 'balance', batch_size => 13);

-- A rebuild of nothing.
SELECT evstore.rebuild_projection(name) FROM evstore.projections;
SELECT name, rebuilt(name) FROM evstore.projections ORDER BY name;

SELECT count(*) FROM generate_series(1, 300) g, LATERAL evstore.append('stream-' || g % 7, 't' || g % 3,
	jsonb_build_object('kind', nullif(g % 5, 0), 'x', g * 0.37)) a;
SELECT evstore.wait_for(name) FROM evstore.projections ORDER BY name;

-- What belongs to the tables: indexes, privileges, comments, views, foreign keys, columns of one's own.
CREATE INDEX by_kind_n ON by_kind (n);
CREATE ROLE regress_rebuild_reader;
GRANT SELECT ON by_kind, per_stream TO regress_rebuild_reader;
COMMENT ON COLUMN by_kind.x IS 'the sum of all x';
CREATE VIEW large AS SELECT * FROM by_kind WHERE n > 10;
ALTER TABLE by_kind ADD COLUMN note text DEFAULT 'none';
UPDATE by_kind SET note = 'mine' WHERE kind = '4' AND type = 't1';
CREATE TABLE subscriber (name text, stream text REFERENCES per_stream);
INSERT INTO subscriber VALUES ('ann', 'stream-1');
CREATE FUNCTION facts() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid IN ('by_kind'::regclass, 'per_stream'::regclass)
	UNION ALL SELECT relname || coalesce(relacl::text, '') || pg_relation_filenode(oid) FROM pg_class WHERE oid IN ('by_kind'::regclass, 'per_stream'::regclass, 'line'::regclass)
	UNION ALL SELECT coalesce(col_description('by_kind'::regclass, 4), 'no comment')
	UNION ALL SELECT conname FROM pg_constraint WHERE conrelid IN ('per_stream'::regclass, 'subscriber'::regclass)
	UNION ALL SELECT relname FROM pg_class WHERE oid = 'large'::regclass ORDER BY 1
$$;
CREATE TABLE before AS SELECT facts() AS fact;
CREATE TABLE ids AS SELECT id, serial, "position" FROM line;

-- Do all kinds of harm.
CREATE FUNCTION do_harm() RETURNS void LANGUAGE sql AS $$
	UPDATE by_kind SET x = x + 1 WHERE kind IS NULL AND type = 't1';
	UPDATE by_kind SET last = NULL WHERE kind = '3' AND type = 't0';
	UPDATE by_kind SET _average_count = 5 WHERE kind = '4' AND type = 't2';
	DELETE FROM by_kind WHERE kind = '2' AND type = 't0';
	DELETE FROM by_kind WHERE kind IS NULL AND type = 't0';
	INSERT INTO by_kind (kind, type, n) VALUES (NULL, 'none', 1), ('9', 't0', 1);
	DELETE FROM streams WHERE stream = 'stream-5';
	INSERT INTO streams VALUES ('no-stream');
	DELETE FROM line WHERE id IN (SELECT id FROM line ORDER BY id LIMIT 2);
	INSERT INTO line ("position", payload) SELECT "position", payload FROM line ORDER BY id LIMIT 1;
	UPDATE line SET payload = 'null' WHERE id = (SELECT max(id) - 5 FROM line);
	UPDATE per_stream SET n = n + 1 WHERE stream IN ('stream-1', 'stream-3');
	DELETE FROM per_stream WHERE stream = 'stream-2';
	INSERT INTO per_stream VALUES ('no-stream', 3);
	UPDATE balance SET balance = 0;
$$;
SELECT do_harm();
SELECT name, (SELECT count(*) FROM evstore.verify_projection(name)) AS differences FROM evstore.projections ORDER BY name;
SELECT evstore.rebuild_projection(name) FROM evstore.projections;
SELECT name, rebuilt(name) FROM evstore.projections ORDER BY name;
SELECT name, (SELECT count(*) FROM evstore.verify_projection(name)) AS differences FROM evstore.projections ORDER BY name;
TABLE before EXCEPT SELECT facts();
SELECT facts() EXCEPT TABLE before;
-- a row that was right is still the same row
SELECT note, count(*) FROM by_kind GROUP BY note ORDER BY note;
SELECT count(*) AS kept FROM line JOIN ids USING (id, serial, "position");
SELECT count(*) AS lines, count(DISTINCT id) AS ids, count(DISTINCT serial) AS serials FROM line;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'evstore\_shadow%';
SELECT count(*) FROM large;
-- and it all goes on
SELECT position FROM evstore.append('stream-1', 't1', '{"kind": "5", "x": 1}') \gset
SELECT bool_and(evstore.wait_for(name, :position)) FROM evstore.projections;
SELECT name, (SELECT count(*) FROM evstore.verify_projection(name)) AS differences FROM evstore.projections ORDER BY name;

-- What was stored by a function that was wrong.
CREATE OR REPLACE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	INSERT INTO balance AS b VALUES (e.stream, 10 * (e.data->>'x')::numeric)
	ON CONFLICT (stream) DO UPDATE SET balance = b.balance + EXCLUDED.balance;
END
$$;
CREATE TABLE old_balance AS TABLE balance;
SELECT evstore.rebuild_projection('balance');
SELECT rebuilt('balance');
SELECT count(*), bool_and(b.balance = 10 * o.balance) AS ten_times FROM balance b JOIN old_balance o USING (stream);

-- One that is paused stays paused, and is as far as the events go.
SELECT evstore.pause_projection('by_kind');
SELECT count(*) FROM generate_series(1, 20) g, LATERAL evstore.append('late-' || g, 'late', '{"kind": "late", "x": 1}') a;
SELECT evstore.rebuild_projection('by_kind');
SELECT rebuilt('by_kind');
SELECT state FROM evstore.projections WHERE name = 'by_kind';
SELECT n FROM by_kind WHERE kind = 'late';
SELECT count(*) FROM evstore.verify_projection('by_kind');
SELECT evstore.resume_projection('by_kind');
SELECT evstore.wait_for('by_kind');

-- One that fails is mended by it: the row that stands in its way goes.
INSERT INTO per_stream VALUES ('stream-new', 4611686018427387903);
SELECT evstore.append('stream-new', 't1', '{"x": 0}') IS NOT NULL AS appended;
SELECT evstore.wait_for('tables', timeout => '0.3 s');
SELECT state, left(last_error, 26) FROM evstore.projections WHERE name = 'tables';
SELECT evstore.rebuild_projection('tables');
SELECT rebuilt('tables');
SELECT evstore.wait_for('tables');
SELECT state, failures, last_error FROM evstore.projections WHERE name = 'tables';
SELECT * FROM per_stream WHERE stream = 'stream-new';

-- A rebuild's error is its own: the projection goes on, and a second one is refused.
ALTER TABLE per_stream ADD CHECK (n < 10) NOT VALID;
SELECT evstore.rebuild_projection('tables');
SELECT rebuild_fails('tables');
ALTER TABLE per_stream DROP CONSTRAINT per_stream_n_check1;
SELECT evstore.rebuild_projection('tables');
\echo :SQLSTATE
SELECT evstore.append('stream-new', 't1', '{"x": 0}') IS NOT NULL AS appended;
SELECT evstore.wait_for('tables');
SELECT state, failures FROM evstore.projections WHERE name = 'tables';
SELECT projection, state, percent < 100 AS less FROM evstore.rebuild_progress;
SELECT evstore.cancel_rebuild('tables');
SELECT evstore.cancel_rebuild('tables');
SELECT projection FROM evstore.rebuild_progress;
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'evstore\_shadow%';

-- What stands in the way of a swap is tried again; dropping the projection drops its rebuild.
ALTER TABLE by_kind ADD CHECK (n < 50) NOT VALID;
DELETE FROM by_kind;
INSERT INTO by_kind (kind, type, n) VALUES (NULL, 'none', 1);
SELECT count(*) FROM generate_series(1, 60) g, LATERAL evstore.append('many-' || g, 'many', '{"kind": "many", "x": 1}') a;
SELECT evstore.rebuild_projection('by_kind');
SELECT rebuild_fails('by_kind');
SELECT count(*) FROM by_kind WHERE type = 'none';
DROP VIEW large;
SELECT evstore.drop_projection('by_kind');
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'evstore\_shadow%';
SELECT relname FROM pg_class WHERE relnamespace = 'evstore'::regnamespace AND relkind = 'v' AND relname = '_batch_' || (SELECT last_value FROM evstore._projection_id);
-- a schema that was dropped is missed, and the table in use is not touched
SELECT evstore.wait_for('tables');
CREATE TABLE per_stream_before AS TABLE per_stream;
BEGIN;
SELECT evstore.rebuild_projection('tables');
SELECT format('DROP SCHEMA %I CASCADE', nspname) AS drop FROM pg_namespace WHERE nspname LIKE 'evstore\_shadow%' \gset
SET LOCAL client_min_messages = warning;
:drop;
COMMIT;
SELECT regexp_replace(rebuild_fails('tables'), '\d+"', 'N"');
SELECT count(*) FROM per_stream FULL JOIN per_stream_before USING (stream, n) WHERE per_stream IS NULL OR per_stream_before IS NULL;
SELECT evstore.cancel_rebuild('tables');

\set VERBOSITY terse
CREATE TABLE elsewhere (stream text);
SELECT evstore.create_projection('undeclared', statement => 'INSERT INTO elsewhere SELECT stream FROM new_events');
SELECT evstore.rebuild_projection('undeclared');
SELECT evstore.rebuild_projection('nosuch');
SELECT evstore.cancel_rebuild('nosuch');
SELECT evstore.rebuild_projection(NULL);
SET ROLE regress_rebuild_reader;
SELECT evstore.rebuild_projection('balance');
SELECT evstore.cancel_rebuild('balance');
RESET ROLE;
BEGIN READ ONLY;
SELECT evstore.rebuild_projection('balance');
ROLLBACK;
-- rolled back, nothing was begun
BEGIN;
SELECT evstore.rebuild_projection('balance');
ROLLBACK;
SELECT projection FROM evstore.rebuild_progress;

-- An owner without any other right builds anew what it could build.
CREATE ROLE regress_rebuild_owner;
GRANT USAGE, CREATE ON SCHEMA regress_projection_rebuild TO regress_rebuild_owner;
GRANT SELECT ON events, new_events TO regress_rebuild_owner;
SET ROLE regress_rebuild_owner;
CREATE TABLE own (stream text PRIMARY KEY, "user" text);
SELECT evstore.create_projection('own', read_table => 'own', statement =>
	'INSERT INTO own SELECT DISTINCT stream, current_user FROM new_events ON CONFLICT DO NOTHING');
SELECT evstore.create_projection('own_query', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT evstore.wait_for('own'), evstore.wait_for('own_query');
DELETE FROM own WHERE stream = 'stream-1';
DELETE FROM own_query WHERE type = 't0';
SELECT evstore.rebuild_projection('own'), evstore.rebuild_projection('own_query');
SELECT rebuilt('own'), rebuilt('own_query');
SELECT count(*) FROM evstore.verify_projection('own');
SELECT count(*) FROM evstore.verify_projection('own_query');
SELECT DISTINCT "user" FROM own;
RESET ROLE;

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_rebuild CASCADE;
DROP OWNED BY regress_rebuild_owner;
DROP ROLE regress_rebuild_reader, regress_rebuild_owner;
