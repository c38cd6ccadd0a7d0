-- Rebuilding, replacing and verifying where something that is needed has gone:
-- whoever may drop it, the answer is an error.

CREATE SCHEMA regress_rebuild_gone;
SET search_path = regress_rebuild_gone;
SELECT evstore.create_event_table();
SELECT count(*) FROM evstore.append('a', (SELECT array_agg(('T', jsonb_build_object('k', v % 2, 'v', v), NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, 6) v));

-- Waits until a rebuild is over (NULL), or has failed with this error.
CREATE FUNCTION failure(name text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	error text;
BEGIN
	FOR i IN 1..6000 LOOP
		SELECT split_part(last_error, E'\n', 1) INTO error FROM evstore.rebuild_progress WHERE projection = name;
		EXIT WHEN NOT FOUND OR error IS NOT NULL;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN error;
END
$$;
CREATE FUNCTION key_of(jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN $1->>'k'; END$$;
CREATE TABLE noted (v int);
SELECT evstore.create_projection('counts', query => $$SELECT key_of(data) AS k, count(*) AS n FROM events GROUP BY 1$$);
SELECT evstore.create_projection('sums', query => $$SELECT data->>'k' AS k, sum((data->>'v')::int) AS v FROM events GROUP BY 1$$);
SELECT evstore.create_projection('notes', statement => $$INSERT INTO noted SELECT (data->>'v')::int FROM new_events$$, read_tables => '{noted}');
SELECT bool_and(evstore.wait_for(name)) AS followed FROM unnest('{counts,sums,notes}'::text[]) name;

-- A read table that has gone before the rebuild is put in place.
BEGIN;
SELECT evstore.rebuild_projection('notes');
DROP TABLE noted;
COMMIT;
SELECT failure('notes');
BEGIN;
SELECT evstore.rebuild_projection('sums');
DROP TABLE sums;
COMMIT;
SELECT failure('sums');
SELECT evstore.cancel_rebuild('sums');
SELECT evstore.rebuild_projection('sums');
SELECT evstore.drop_projection(name) FROM unnest('{notes,sums}'::text[]) name;

-- One that gets another shape.
SELECT evstore.create_projection('sums', query => $$SELECT data->>'k' AS k, sum((data->>'v')::int) AS v FROM events GROUP BY 1$$);
SELECT evstore.wait_for('sums');
BEGIN;
SELECT evstore.replace_projection('sums', query => $$SELECT data->>'k' AS k, max((data->>'v')::int) AS v FROM events GROUP BY 1$$);
DROP TABLE sums;
COMMIT;
SELECT failure('sums');
SELECT evstore.drop_projection('sums');

-- One that has got another name.
BEGIN;
SELECT evstore.rebuild_projection('counts');
UPDATE counts SET n = 0;
ALTER TABLE counts RENAME TO counted;
COMMIT;
SELECT failure('counts');
SELECT * FROM counted ORDER BY k;

-- Whoever may not change a table does not lock it against those who may.
CREATE ROLE regress_rebuild_gone;
GRANT USAGE ON SCHEMA regress_rebuild_gone TO regress_rebuild_gone;
CREATE TABLE theirs (v int);
GRANT SELECT ON events, theirs TO regress_rebuild_gone;
SET ROLE regress_rebuild_gone;
SELECT evstore.create_projection('theirs', statement => 'SELECT count(*) FROM new_events', read_tables => '{theirs}');
SELECT evstore.rebuild_projection('theirs');
RESET ROLE;
SELECT failure('theirs');
SELECT evstore.drop_projection('theirs');

-- What a replacement uses: nothing is put in place.
CREATE FUNCTION double_of(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN 2 * $1; END$$;
BEGIN;
SELECT evstore.replace_projection('counts', query => $$SELECT key_of(data) AS k, count(double_of(version)) AS n FROM events GROUP BY 1$$);
SET LOCAL client_min_messages = warning;
DROP FUNCTION double_of CASCADE;
COMMIT;
SELECT failure('counts');
SELECT evstore.cancel_rebuild('counts');
SELECT definition FROM evstore._projection WHERE name = 'counts';

-- What the query uses, and with that the query: it can be given another.
SET client_min_messages = warning;
DROP FUNCTION key_of CASCADE;
RESET client_min_messages;
SELECT evstore.rebuild_projection('counts');
SELECT * FROM evstore.verify_projection('counts');
SELECT * FROM evstore.projection_as_of(NULL::counted, 6);
SELECT evstore.replace_projection('counts', query => $$SELECT data->>'k' AS k, count(*) AS n FROM events GROUP BY 1$$);
SELECT failure('counts');
\c -
SET search_path = regress_rebuild_gone;
SELECT * FROM evstore.verify_projection('counts');

SELECT evstore.drop_projection('counts');
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_rebuild_gone CASCADE;
DROP ROLE regress_rebuild_gone;
