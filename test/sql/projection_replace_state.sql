-- Replacing queries that compute with their aggregates: the read table is a view
-- over what is stored, or becomes one, or is one no more.

CREATE SCHEMA regress_replace_state;
SET search_path = regress_replace_state;
SELECT evstore.create_event_table();
CREATE FUNCTION replaced(name text) RETURNS boolean LANGUAGE plpgsql AS
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
-- What a relation is, and who may do what with it.
CREATE FUNCTION relation(name regclass) RETURNS TABLE (kind "char", columns text, options text[], acl text, column_acl text, comments text) LANGUAGE sql AS
$$
	SELECT relkind, string_agg(attname, ' ' ORDER BY attnum), reloptions,
		(SELECT string_agg(CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END || ':' || privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END, ' '
			ORDER BY grantee, privilege_type) FROM aclexplode(relacl) WHERE grantee <> relowner),
		(SELECT string_agg(attname || ':' || pg_get_userbyid(grantee) || ':' || privilege_type, ' ' ORDER BY attname)
			FROM pg_attribute b, aclexplode(attacl) WHERE b.attrelid = c.oid AND NOT attisdropped),
		concat_ws(' / ', obj_description(c.oid, 'pg_class'), (SELECT string_agg(attname || ': ' || col_description(c.oid, attnum), ', ')
			FROM pg_attribute b WHERE b.attrelid = c.oid AND col_description(c.oid, attnum) IS NOT NULL))
	FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = name GROUP BY c.oid
$$;
CREATE FUNCTION fails(name text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	error text;
BEGIN
	FOR i IN 1..6000 LOOP
		SELECT regexp_replace(last_error, '\n(HINT|CONTEXT).*', '') INTO error FROM evstore.rebuild_progress WHERE projection = name AND state = 'failing';
		EXIT WHEN FOUND;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN error;
END
$$;
CREATE ROLE regress_replace_reader;
CREATE ROLE regress_replace_writer;
SELECT count(evstore.append('s' || i % 7, 'T', jsonb_build_object('k', i % 3, 'x', i))) FROM generate_series(1, 20) i;
SELECT evstore.create_projection('means', query => $$
	SELECT data->>'k' AS k, sum((data->>'x')::numeric) / count(*) AS mean, 2 * count(*) AS twice FROM events GROUP BY 1$$);
SELECT evstore.wait_for('means');
SELECT k, round(mean, 2) AS mean, twice FROM means ORDER BY k;

-- The view keeps its columns: it stays the same, with all that depends on it.
GRANT SELECT ON means TO regress_replace_reader WITH GRANT OPTION;
GRANT UPDATE (twice) ON means TO regress_replace_writer;
COMMENT ON COLUMN means.twice IS 'two for each';
ALTER VIEW means SET (security_barrier);
CREATE VIEW on_means AS SELECT k, twice FROM means;
CREATE INDEX means_index ON means_state (k);
SELECT 'means'::regclass::oid AS oid \gset
SELECT evstore.replace_projection('means', query => $$
	SELECT max(version) AS last, avg((data->>'x')::integer) AS mean, data->>'k' AS k, 2 * count(DISTINCT stream) AS twice FROM events GROUP BY 3$$);
BEGIN;
SELECT evstore.replace_projection('means', query => $$
	SELECT max(version) AS last, sum((data->>'x')::numeric) / 10 AS mean, data->>'k' AS k, 2 * count(*) AS twice
	FROM events GROUP BY 3 HAVING count(*) > 6$$);
-- until it is in place, nothing has changed
SELECT k, round(mean, 2) AS mean, twice FROM means ORDER BY k;
COMMIT;
SELECT replaced('means');
SELECT * FROM means ORDER BY k;
SELECT * FROM on_means ORDER BY k;
SELECT 'means'::regclass = :oid AS same_view;
SELECT * FROM relation('means');
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'means_state'::regclass ORDER BY 1;
SELECT count(evstore.append('s', 'T', jsonb_build_object('k', 0, 'x', 1)));
SELECT evstore.wait_for('means');
SELECT * FROM means ORDER BY k;
SELECT * FROM evstore.verify_projection('means');
SELECT * FROM evstore.projection_as_of(NULL::means, (SELECT max(position) - 1 FROM events)) ORDER BY k;

-- A column goes: the view is made anew, if nothing depends on it.
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
DROP VIEW on_means;
CREATE FUNCTION takes(m means) RETURNS void LANGUAGE sql AS '';
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
DROP FUNCTION takes;
CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER instead INSTEAD OF INSERT ON means FOR EACH ROW EXECUTE FUNCTION never();
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
DROP TRIGGER instead ON means;
ALTER DEFAULT PRIVILEGES IN SCHEMA regress_replace_state GRANT INSERT ON TABLES TO regress_replace_writer;
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
SELECT replaced('means');
SELECT * FROM means ORDER BY k;
SELECT * FROM relation('means');
SELECT * FROM evstore.verify_projection('means');
ALTER DEFAULT PRIVILEGES IN SCHEMA regress_replace_state REVOKE INSERT ON TABLES FROM regress_replace_writer;

-- It becomes a table, and a view again. What is stored was nobody's to read, and is not.
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) AS twice FROM events GROUP BY 1');
SELECT replaced('means');
SELECT * FROM means ORDER BY k;
SELECT * FROM relation('means');
SELECT read_table, state FROM evstore.projections WHERE name = 'means';
SELECT to_regclass('means_state') IS NULL AS gone;
CREATE VIEW on_means AS SELECT k FROM means;
CREATE TABLE means_state ();
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
DROP VIEW on_means;
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
DROP TABLE means_state;
CREATE POLICY nothing ON means USING (false);
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
DROP POLICY nothing ON means;
ALTER TABLE means ENABLE ROW LEVEL SECURITY;
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
ALTER TABLE means DISABLE ROW LEVEL SECURITY;
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) + 1 AS twice FROM events GROUP BY 1');
SELECT replaced('means');
SELECT * FROM means ORDER BY k;
SELECT * FROM relation('means');
SELECT kind, acl, column_acl FROM relation('means_state');

-- Groups come and go, and so does what is read.
SELECT evstore.replace_projection('means', query => 'SELECT count(*) AS n, max(version) AS last FROM events');
SELECT replaced('means');
SELECT * FROM means;
SELECT count(evstore.append('s', 'T', jsonb_build_object('k', 0, 'x', 1)));
SELECT evstore.wait_for('means');
SELECT * FROM means;
SELECT evstore.replace_projection('means', query => 'SELECT -count(*) AS n FROM events');
SELECT replaced('means');
SELECT * FROM means;
SELECT evstore.create_event_table('others');
SELECT count(evstore.append('o', 'O', '{"k": 5}', event_table => 'others'));
SELECT evstore.replace_projection('means', query => $$
	SELECT data->>'k' AS k, -count(*) AS n FROM (SELECT data FROM events UNION ALL SELECT data FROM others) e GROUP BY 1$$);
SELECT replaced('means');
SELECT count(evstore.append('o', 'O', '{"k": 6}', event_table => 'others'));
SELECT evstore.wait_for('means');
SELECT * FROM means ORDER BY k;
SELECT * FROM evstore.verify_projection('means');
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, -count(*) AS n FROM others GROUP BY 1');
SELECT replaced('means');
SELECT * FROM means ORDER BY k;
SELECT event_table FROM evstore.projections WHERE name = 'means';

-- With shards.
SELECT evstore.set_projection('means', shards => 3);
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, 2 * count(*) AS n FROM events GROUP BY 1 HAVING count(*) > 6');
SELECT replaced('means');
SELECT count(evstore.append('s', 'T', jsonb_build_object('k', i % 3, 'x', 1))) FROM generate_series(1, 3) i;
SELECT evstore.wait_for('means');
SELECT * FROM means ORDER BY k;
SELECT * FROM evstore.verify_projection('means');

-- What the new view uses stays, as long as it is to come.
CREATE FUNCTION half(x bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT x / 2';
BEGIN;
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, half(count(*)) AS n FROM events GROUP BY 1');
\set VERBOSITY terse
DROP FUNCTION half;
\set VERBOSITY default
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, half(count(*)) AS n FROM events GROUP BY 1');
DROP FUNCTION half CASCADE;
COMMIT;
SELECT fails('means');
SELECT evstore.cancel_rebuild('means');

-- What comes to be in the way after the call does not get lost, either.
CREATE FUNCTION attach(what text) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, -count(*) AS other FROM events GROUP BY 1');
	EXECUTE what;
END
$$;
SELECT attach('CREATE TRIGGER instead INSTEAD OF INSERT ON means FOR EACH ROW EXECUTE FUNCTION never()');
SELECT fails('means');
SELECT evstore.cancel_rebuild('means');
DROP TRIGGER instead ON means;
SELECT evstore.set_projection('means', shards => 1);
SELECT evstore.replace_projection('means', query => 'SELECT data->>''k'' AS k, count(*) AS n FROM events GROUP BY 1');
SELECT replaced('means');
SELECT attach('ALTER TABLE means ENABLE ROW LEVEL SECURITY');
SELECT fails('means');
SELECT evstore.cancel_rebuild('means');
SELECT relkind, relrowsecurity FROM pg_class WHERE oid = 'means'::regclass;
SELECT evstore.drop_projection('means');
SELECT to_regclass('means'), to_regclass('means_state');
DROP FUNCTION attach;

-- Whoever owns the projection has to own what is made anew, and to be able to make it.
CREATE ROLE regress_replace_owner;
GRANT USAGE, CREATE ON SCHEMA regress_replace_state TO regress_replace_owner;
GRANT SELECT ON events TO regress_replace_owner;
SET ROLE regress_replace_owner;
SELECT evstore.create_projection('own', query => 'SELECT data->>''k'' AS k, 2 * count(*) AS n FROM events GROUP BY 1');
RESET ROLE;
SELECT evstore.wait_for('own');
ALTER VIEW own OWNER TO regress_replace_writer;
SELECT evstore.replace_projection('own', query => 'SELECT data->>''k'' AS k, 3 * count(*) AS n FROM events GROUP BY 1');
ALTER VIEW own OWNER TO regress_replace_owner;
REVOKE CREATE ON SCHEMA regress_replace_state FROM regress_replace_owner;
SELECT evstore.replace_projection('own', query => 'SELECT data->>''k'' AS k, 3 * count(*) AS n FROM events GROUP BY 1');
GRANT CREATE ON SCHEMA regress_replace_state TO regress_replace_owner;
SELECT evstore.replace_projection('own', query => 'SELECT data->>''k'' AS k, 3 * count(*) AS n FROM events GROUP BY 1');
SELECT replaced('own');
SELECT relowner::regrole FROM pg_class WHERE oid = 'own'::regclass;
SELECT * FROM own ORDER BY k;
SELECT evstore.drop_projection('own');
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_replace_state CASCADE;
DROP OWNED BY regress_replace_owner;
DROP ROLE regress_replace_reader, regress_replace_writer, regress_replace_owner;
