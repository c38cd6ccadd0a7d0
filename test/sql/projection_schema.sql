-- The schemas in which evstore builds and divides have names that anybody can
-- take who may make schemas. What somebody else has made is neither used nor
-- dropped, and keeps nobody from rebuilding.

CREATE ROLE regress_schema_squatter;
CREATE SCHEMA regress_projection_schema;
SET search_path = regress_projection_schema;
SET client_min_messages = warning;
SELECT evstore.create_event_table();
CREATE TABLE noted (v int);
SELECT count(*) FROM evstore.append('a', (SELECT array_agg(('T', to_jsonb(v), NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, 6) v));
SELECT evstore.create_projection('notes', statement => 'INSERT INTO noted SELECT data::int FROM new_events', read_table => 'noted');
SELECT evstore.create_projection('counts', query => 'SELECT data::int % 2 AS k, count(*) AS n FROM events GROUP BY 1');
SELECT evstore.wait_for_all();

-- Waits until a rebuild is over (NULL), or has failed with this error.
CREATE FUNCTION failure(name text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	error text;
BEGIN
	FOR i IN 1..6000 LOOP
		SELECT regexp_replace(split_part(last_error, E'\n', 1), '\d+"', 'N"') INTO error FROM evstore.rebuild_progress WHERE projection = name;
		EXIT WHEN NOT FOUND OR error IS NOT NULL;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN error;
END
$$;
-- A schema of the squatter's, with what might be taken for a copy of a table, or a shard's view.
CREATE PROCEDURE squat(schema text) LANGUAGE plpgsql AS
$$
BEGIN
	EXECUTE format('CREATE SCHEMA %I AUTHORIZATION regress_schema_squatter', schema);
	EXECUTE format('CREATE TABLE %I.noted (v int)', schema);
	EXECUTE format('CREATE VIEW %I.new_events AS SELECT NULL::jsonb AS data', schema);
	EXECUTE format('GRANT ALL ON SCHEMA %1$I TO PUBLIC; GRANT ALL ON %1$I.noted TO PUBLIC', schema);
END
$$;
-- Those that are left, and what was written there.
CREATE FUNCTION squatted(OUT schemas bigint, OUT rows bigint) LANGUAGE plpgsql AS
$$
DECLARE
	schema text;
	found bigint;
BEGIN
	schemas := 0;
	rows := 0;
	FOR schema IN SELECT nspname FROM pg_namespace WHERE nspowner = 'regress_schema_squatter'::regrole LOOP
		EXECUTE format('SELECT count(*) FROM %I.noted', schema) INTO found;
		schemas := schemas + 1;
		rows := rows + found;
	END LOOP;
END
$$;
CREATE FUNCTION next_id() RETURNS bigint LANGUAGE sql AS 'SELECT last_value + 1 FROM evstore._projection_id';
SELECT id AS notes FROM evstore._projection WHERE name = 'notes' \gset

-- The next numbers are taken.
DO $$ BEGIN FOR i IN 0..2 LOOP CALL squat('evstore_shadow_' || next_id() + i); END LOOP; END $$;
UPDATE noted SET v = 0;
UPDATE counts SET n = 0;
SELECT evstore.rebuild_projection('notes');
SELECT failure('notes');
CALL squat('evstore_shadow_' || next_id());
SELECT evstore.rebuild_projection('counts');
SELECT failure('counts');
SELECT sum(v) FROM noted;
SELECT * FROM counts ORDER BY k;
SELECT * FROM squatted();
CALL squat(format('evstore_shadow_%s_%s_0', :notes, pg_backend_pid()));
SELECT * FROM evstore.verify_projection('notes');
SELECT * FROM squatted();

-- One takes the place of a schema that a superuser has dropped.
BEGIN;
SELECT evstore.rebuild_projection('notes');
SELECT 'evstore_shadow_' || max(id) AS shadow FROM evstore._projection \gset
DROP SCHEMA :shadow CASCADE;
CALL squat(:'shadow');
COMMIT;
SELECT failure('notes');
SELECT evstore.cancel_rebuild('notes');
SELECT * FROM squatted();

-- That of the views of shards.
CALL squat('evstore_shards_' || :notes);
\set VERBOSITY sqlstate
SELECT evstore.set_projection('notes', shards => 2);
\set VERBOSITY default
SELECT * FROM squatted();
SELECT 'evstore_shards_' || :notes AS views \gset
DROP SCHEMA :views CASCADE;
SELECT evstore.set_projection('notes', shards => 2);
DROP SCHEMA :views CASCADE;
CALL squat(:'views');
SELECT count(*) FROM evstore.append('a', 'T', '7');
DO $$ BEGIN FOR i IN 1..6000 LOOP EXIT WHEN (SELECT failures > 0 FROM evstore.projections WHERE name = 'notes'); PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT split_part(last_error, E'\n', 1) AS error FROM evstore.projections WHERE name = 'notes';
SELECT evstore.set_projection('notes', shards => 1);
SELECT evstore.retry_projection('notes');
SELECT evstore.wait_for('notes');
SELECT evstore.drop_projection('notes');
SELECT sum(v) FROM noted;
SELECT * FROM squatted();

SELECT evstore.drop_projection('counts');
DROP OWNED BY regress_schema_squatter CASCADE;
SELECT * FROM squatted();
SET evstore.maintenance = on;
DROP SCHEMA regress_projection_schema CASCADE;
DROP ROLE regress_schema_squatter;
