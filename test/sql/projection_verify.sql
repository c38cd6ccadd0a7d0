-- Verifying projections: every row that was changed behind their back is found,
-- and nothing else.

CREATE SCHEMA regress_projection_verify;
SET search_path = regress_projection_verify;
SELECT evstore.create_event_table();
SELECT evstore.create_projection('by_kind', batch_size => 7, query => $$
	SELECT data->>'kind' AS kind, type, count(*) AS n, sum((data->>'x')::numeric) AS x,
		avg((data->>'x')::float8) AS average, evstore.last(data->>'x', position) AS last
	FROM events GROUP BY data->>'kind', type$$);
SELECT evstore.create_projection('by_price', query => $$
	SELECT (data->>'price')::numeric AS price, (data->>'amount')::money AS amount, count(*) AS n FROM events GROUP BY 1, 2$$);
CREATE TABLE line (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "position" bigint, payload json);
CREATE TABLE "Per stream" (stream text PRIMARY KEY, n bigint, twice bigint GENERATED ALWAYS AS (2 * n) STORED);
SELECT evstore.create_projection('tables', batch_size => 10, read_tables => '{line, "\"Per stream\""}', statement => $$
	INSERT INTO line ("position", payload) SELECT position, data::json FROM new_events;
	INSERT INTO "Per stream" AS s SELECT stream, count(*) FROM new_events GROUP BY stream
	ON CONFLICT (stream) DO UPDATE SET n = s.n + EXCLUDED.n$$);
CREATE TABLE balance (stream text PRIMARY KEY, balance numeric NOT NULL);
CREATE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	UPDATE balance SET balance = balance.balance + (e.data->>'x')::numeric WHERE balance.stream = e.stream;
	IF NOT FOUND THEN
		INSERT INTO balance VALUES (e.stream, (e.data->>'x')::numeric);
	END IF;
END
$$;
SELECT evstore.create_projection('balance', handler => 'on_event', read_table => 'balance', batch_size => 13);

-- Nothing applied, nothing differs.
SELECT * FROM evstore.verify_projection('by_kind');
SELECT * FROM evstore.verify_projection('tables');

SELECT count(*) FROM generate_series(1, 200) g, LATERAL evstore.append('stream-' || g % 7, 't' || g % 3,
	jsonb_build_object('kind', nullif(g % 5, 0), 'x', g * 0.37, 'price', CASE g % 4 WHEN 0 THEN 1.0 WHEN 1 THEN 1.00 ELSE g % 4 END, 'amount', g % 3));
SELECT evstore.wait_for(name) FROM evstore.projections ORDER BY name;
SELECT * FROM evstore.verify_projection('by_kind');
SELECT * FROM evstore.verify_projection('by_price');
SELECT * FROM evstore.verify_projection('tables');
SELECT * FROM evstore.verify_projection('balance');
-- and leaves nothing behind
SELECT nspname FROM pg_namespace WHERE nspname LIKE 'evstore\_shadow%';
SELECT count(*) FROM line;

-- Every way to be wrong: a value, a row too few, a row too many, a key that is NULL, a column that one does not see.
UPDATE by_kind SET x = x + 1 WHERE kind IS NULL AND type = 't1';
UPDATE by_kind SET last = NULL WHERE kind = '3' AND type = 't0';
UPDATE by_kind SET _average_count = 5 WHERE kind = '4' AND type = 't2';
DELETE FROM by_kind WHERE kind = '2' AND type = 't0';
INSERT INTO by_kind (kind, type, n) VALUES (NULL, 'none', 1);
-- the order of summation is no difference
UPDATE by_kind SET average = average * (1 + 1e-13);
SELECT key, expected - '{average,_average_sum,_last_position}'::text[] AS expected, actual - '{average,_average_sum,_last_position}'::text[] AS actual
FROM evstore.verify_projection('by_kind') ORDER BY key::text;
UPDATE by_price SET n = n + 1 WHERE price = 1;
SELECT key->>'amount' AS amount, expected->>'n' AS expected, actual->>'n' AS actual FROM evstore.verify_projection('by_price') ORDER BY key::text;

-- Two samples that are the halves of the keys find together what there is.
SELECT count(*) > 0 AS some, count(*) < 12 AS not_all FROM (SELECT evstore.verify_projection('by_kind', 0.9)) s;
SELECT bool_and(s.sample <@ a.all_keys) AS same FROM
	(SELECT array_agg(key) AS sample FROM evstore.verify_projection('by_kind', 0.5)) s,
	(SELECT array_agg(key) AS all_keys FROM evstore.verify_projection('by_kind')) a;

-- Rows without a key of their own, a row twice, and several tables.
DELETE FROM line WHERE id IN (SELECT id FROM line ORDER BY id LIMIT 1);
INSERT INTO line ("position", payload) SELECT "position", payload FROM line ORDER BY id LIMIT 1;
UPDATE "Per stream" SET n = n + 1 WHERE stream = 'stream-3';
SELECT key, expected - 'position' AS expected, actual - 'position' AS actual FROM evstore.verify_projection('tables') ORDER BY key::text, expected IS NULL;
DELETE FROM balance WHERE stream = 'stream-1';
INSERT INTO balance VALUES ('stream-99', 0);
SELECT * FROM evstore.verify_projection('balance') ORDER BY key::text;

-- What cannot be computed anew says why.
CREATE TABLE elsewhere (stream text);
SELECT evstore.create_projection('qualified', read_table => 'elsewhere', statement =>
	'INSERT INTO regress_projection_verify.elsewhere SELECT stream FROM new_events');
SELECT evstore.create_projection('undeclared', read_table => 'elsewhere', statement =>
	'INSERT INTO elsewhere SELECT stream FROM new_events; INSERT INTO balance SELECT type, 0 FROM new_events ON CONFLICT DO NOTHING');
SELECT evstore.create_projection('nothing_declared', statement => 'INSERT INTO elsewhere SELECT stream FROM new_events');
CREATE FUNCTION ship(e evstore.event) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	INSERT INTO elsewhere VALUES (e.stream);
	IF e.type = 't1' THEN
		PERFORM evstore.append('shipment-1', 'Shipped', '{}');
	END IF;
END
$$;
SELECT evstore.create_projection('process_manager', read_table => 'elsewhere', handler => 'ship');
SELECT evstore.wait_for('qualified'), evstore.wait_for('undeclared'), evstore.wait_for('nothing_declared'), evstore.wait_for('process_manager');
SELECT count(*) AS appended FROM events WHERE type = 'Shipped' \gset
DO $$
DECLARE
	hint text;
BEGIN
	PERFORM evstore.verify_projection('qualified');
EXCEPTION WHEN read_only_sql_transaction THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RAISE NOTICE '% %', SQLERRM, hint;
END
$$;
\set VERBOSITY terse
SELECT * FROM evstore.verify_projection('undeclared');
SELECT * FROM evstore.verify_projection('process_manager');
SELECT * FROM evstore.verify_projection('nothing_declared');
SELECT count(*) = :appended AS nothing_appended FROM events WHERE type = 'Shipped';
SELECT * FROM evstore.verify_projection('nosuch');
SELECT * FROM evstore.verify_projection('by_kind', 0);
SELECT * FROM evstore.verify_projection('by_kind', 1.5);
SELECT * FROM evstore.verify_projection('by_kind', 'NaN');
-- a transaction that may not write cannot make copies, but needs none for a query
BEGIN READ ONLY;
SELECT count(*) > 0 AS differences FROM evstore.verify_projection('by_kind');
SELECT * FROM evstore.verify_projection('balance');
ROLLBACK;
-- one snapshot, also that of a whole transaction
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM evstore.verify_projection('by_price');
ROLLBACK;

-- With the owner's rights, for the owner.
CREATE ROLE regress_verify_owner;
CREATE ROLE regress_verify_other;
GRANT USAGE, CREATE ON SCHEMA regress_projection_verify TO regress_verify_owner, regress_verify_other;
GRANT SELECT ON events, new_events TO regress_verify_owner;
SET ROLE regress_verify_owner;
CREATE TABLE own (stream text PRIMARY KEY, "user" text);
SELECT evstore.create_projection('own', read_table => 'own', statement =>
	'INSERT INTO own SELECT DISTINCT stream, current_user FROM new_events ON CONFLICT DO NOTHING');
SELECT evstore.wait_for('own');
SELECT * FROM evstore.verify_projection('own');
DELETE FROM own WHERE stream = 'stream-1';
SELECT * FROM evstore.verify_projection('own');
SET ROLE regress_verify_other;
SELECT * FROM evstore.verify_projection('own');
RESET ROLE;
SELECT * FROM evstore.verify_projection('own');

-- What was skipped is skipped again; what is stored behind a view, and what is applied inline, is compared.
CREATE TABLE small (stream text PRIMARY KEY, x numeric CHECK (x < 1000));
SELECT evstore.create_projection('small', on_error => 'skip', retries => 0, read_table => 'small', statement => $$
	INSERT INTO small AS s SELECT stream, sum((data->>'x')::numeric) FROM new_events WHERE stream LIKE 'small-%' GROUP BY stream
	ON CONFLICT (stream) DO UPDATE SET x = s.x + EXCLUDED.x$$);
SELECT evstore.create_projection('having', query => $$
	SELECT data->>'kind' AS kind, stddev((data->>'x')::numeric) AS deviation, 1 + count(*) AS n FROM events GROUP BY 1 HAVING count(*) > 1$$);
SELECT evstore.create_projection('total', query => 'SELECT count(*) AS n FROM events');
SELECT evstore.create_projection('inline', mode => 'inline', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT count(*) FROM generate_series(1, 9) g, LATERAL evstore.append('small-' || g % 2, 'Small', jsonb_build_object('x', CASE g WHEN 5 THEN 5000 ELSE g END));
SELECT evstore.wait_for('small'), evstore.wait_for('having'), evstore.wait_for('total');
SELECT skipped_events FROM evstore.projections WHERE name = 'small';
SELECT name, (SELECT count(*) FROM evstore.verify_projection(name)) AS differences FROM evstore.projections WHERE name IN ('small', 'having', 'total', 'inline') ORDER BY name;
UPDATE small SET x = 0 WHERE stream = 'small-1';
UPDATE total SET n = 0;
DELETE FROM having_state WHERE kind = '1';
INSERT INTO inline VALUES ('none', 1);
SELECT name, (SELECT count(*) FROM evstore.verify_projection(name)) AS differences FROM evstore.projections WHERE name IN ('small', 'having', 'total', 'inline') ORDER BY name;

-- What cannot be computed anew leaves no plan behind, however often.
CREATE TABLE elsewhere (n bigint);
SELECT evstore.create_projection('elsewhere', read_table => 'elsewhere', statement => 'INSERT INTO regress_projection_verify.elsewhere SELECT count(*) FROM new_events');
SELECT evstore.wait_for('elsewhere');
SELECT * FROM evstore.verify_projection('elsewhere');
SELECT count(*) AS plans FROM pg_backend_memory_contexts WHERE name = 'CachedPlanSource' \gset
DO $$
BEGIN
	FOR i IN 1..50 LOOP
		BEGIN
			PERFORM evstore.verify_projection('elsewhere');
		EXCEPTION WHEN read_only_sql_transaction THEN
			NULL;
		END;
	END LOOP;
END
$$;
SELECT count(*) < :plans + 25 AS few FROM pg_backend_memory_contexts WHERE name = 'CachedPlanSource';

SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_verify CASCADE;
DROP ROLE regress_verify_owner, regress_verify_other;
