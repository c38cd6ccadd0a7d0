-- append writes straight into the heap where the table is plain, and through
-- the executor where it is not. One script of calls runs against a plain table
-- and against each kind that is not; every answer, every error and every row
-- must be the same. Then the things that make a table not plain must work.

\set SHOW_CONTEXT never
CREATE ROLE regress_append_paths;
CREATE SCHEMA regress_append_paths AUTHORIZATION regress_append_paths;
SET search_path = regress_append_paths;
-- not as superuser, whom row-level security passes over
SET ROLE regress_append_paths;

-- The script. %1$L stands for the table.
CREATE TABLE step (no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, call text NOT NULL);
INSERT INTO step (call) VALUES
	($$SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}', event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-1', 'OrderPaid', '{"by": "card"}', '{"user": "ann"}', 1, event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', expected_version => 1, event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', expected_version => 0, event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', expected_version => 3, event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-1', 'OrderShipped', '{}'::jsonb, expected_version => -1, event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-2', 'OrderShipped', '{}'::jsonb, expected_version => -1, event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{}', expected_version => 0, event_table => %1$L,
		id => '00000000-0000-0000-0000-000000000002', tags => '{a,"b c"}')$$),
	($$SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{}', expected_version => 0, event_table => %1$L,
		id => '00000000-0000-0000-0000-000000000002')$$),
	($$SELECT version FROM evstore.append('order-2', 'OrderPlaced', '{}', event_table => %1$L,
		id => '00000000-0000-0000-0000-000000000002')$$),
	($$SELECT version FROM evstore.append('order-3', ARRAY[
		('OrderPlaced', '{"total": 30}', '{"user": "bob"}', '00000000-0000-0000-0000-000000000031', '{c}', NULL),
		('OrderPaid', 'null', NULL, '00000000-0000-0000-0000-000000000032', NULL, NULL),
		('OrderShipped', '[1, 2]', NULL, '00000000-0000-0000-0000-000000000033', '{}', NULL)]::evstore.new_event[], 0, %1$L)$$),
	($$SELECT version FROM evstore.append('order-3', ARRAY[
		('OrderPlaced', '{}', NULL, '00000000-0000-0000-0000-000000000031', NULL, NULL),
		('OrderPaid', '{}', NULL, '00000000-0000-0000-0000-000000000032', NULL, NULL)]::evstore.new_event[], 0, %1$L)$$),
	($$SELECT version FROM evstore.append('order-3', ARRAY[
		('OrderPlaced', '{}', NULL, '00000000-0000-0000-0000-000000000031', NULL, NULL),
		('OrderPaid', '{}', NULL, '00000000-0000-0000-0000-0000000000ff', NULL, NULL)]::evstore.new_event[], 0, %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', ARRAY[
		('OrderPlaced', '{}', NULL, '00000000-0000-0000-0000-000000000041', NULL, NULL),
		('OrderPaid', '{}', NULL, '00000000-0000-0000-0000-000000000041', NULL, NULL)]::evstore.new_event[], event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', ARRAY[('OrderPlaced', '{}', NULL, NULL, NULL, NULL), NULL]::evstore.new_event[], event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', ARRAY[('OrderPlaced', '{}', NULL, NULL, NULL, NULL), ('', '{}', NULL, NULL, NULL, NULL)]::evstore.new_event[], event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', '{}'::evstore.new_event[], event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('', 'OrderPlaced', '{}', event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', '', '{}', event_table => %1$L)$$),
	($$SELECT version FROM evstore.append(NULL, 'OrderPlaced', '{}', event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', NULL, '{}', event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', 'OrderPlaced', NULL, event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', 'OrderPlaced', 'placed', event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('order-4', 'OrderPlaced', '{}', expected_version => -2, event_table => %1$L)$$),
	($$SELECT max(version) FROM generate_series(1, 3) n, evstore.append('loop-1', 'Turned', to_jsonb(n), expected_version => n - 1, event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('bulk-1', (SELECT array_agg(('Numbered', to_jsonb(n), NULL, NULL, NULL, NULL)::evstore.new_event ORDER BY n)
		FROM generate_series(1, 1500) n), 0, %1$L)$$),
	($$SELECT version FROM evstore.append('注文-1', '受注', '{"名前": "山田"}', event_table => %1$L)$$),
	($$SELECT version FROM evstore.append('large-1', 'Large', to_jsonb((SELECT string_agg(md5(n::text), '') FROM generate_series(1, 32768) n)), event_table => %1$L)$$),
	($$INSERT INTO %1$s (stream, type, data) VALUES ('insert-1', 'Inserted', '{}'), ('insert-1', 'Inserted', '{}') RETURNING version$$),
	($$INSERT INTO %1$s (stream, version, type, data) VALUES ('insert-1', 3, 'Inserted', '{}') RETURNING version$$),
	($$INSERT INTO %1$s (stream, version, type, data) VALUES ('insert-1', 3, 'Inserted', '{}') RETURNING version$$),
	($$SELECT version FROM evstore.append('insert-1', 'Appended', '{}', expected_version => 3, event_table => %1$L)$$),
	($$SELECT sum(version) FROM evstore.append_streams(ARRAY[
		('many-1', evstore.events('[{"type": "A", "data": 1}, {"type": "B", "data": 2, "id": "00000000-0000-0000-0000-000000000051"}]'), 0),
		('many-2', evstore.events('[{"type": "A", "data": 3}]'), NULL),
		('insert-1', NULL, 4)]::evstore.stream_append[], %1$L)$$),
	($$SELECT sum(version) FROM evstore.append_streams(ARRAY[
		('many-1', evstore.events('[{"type": "A", "data": 4}]'), 2),
		('many-2', NULL, 2)]::evstore.stream_append[], %1$L)$$),
	($$SELECT coalesce(version, 0) FROM evstore.append_if(evstore.events('[{"type": "Seated", "data": 5, "tags": ["seat:1", "show:1"]},
		{"type": "Seated", "data": 6, "tags": ["seat:2", "show:1"]}]'), '{"items": [{"tags": ["seat:1"]}, {"tags": ["seat:2"]}]}', event_table => %1$L)$$),
	($$SELECT coalesce(version, 0) FROM evstore.append_if(evstore.events('[{"type": "Seated", "data": 7, "tags": ["seat:1", "show:1"]}]'),
		'{"items": [{"tags": ["seat:1"]}]}', event_table => %1$L)$$),
	($$SELECT version FROM evstore.append_if(evstore.events('[{"type": "Seated", "data": 8, "tags": ["seat:3", "show:1"]}]'),
		'{"items": [{"tags": ["seat:3"], "types": ["Seated"]}]}', stream => 'seat-3', event_table => %1$L)$$);

CREATE TABLE answer (target regclass, no integer, answer text);

CREATE PROCEDURE run(target regclass) LANGUAGE plpgsql AS
$$
DECLARE
	s step;
	version bigint;
BEGIN
	FOR s IN SELECT * FROM step ORDER BY no LOOP
		BEGIN
			EXECUTE format(s.call, target) INTO version;
			INSERT INTO answer VALUES (target, s.no, 'version ' || version);
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO answer VALUES (target, s.no, SQLSTATE || ' ' || replace(SQLERRM, target::text, 'events'));
		END;
	END LOOP;
END
$$;

-- The tables. Each is made as owner with its own right.
SELECT evstore.create_event_table('plain');
SELECT evstore.create_event_table('with_row_trigger');
SELECT evstore.create_event_table('with_statement_trigger');
SELECT evstore.create_event_table('with_check');
SELECT evstore.create_event_table('with_row_security');
SELECT evstore.create_event_table('with_generated_column');
SELECT evstore.create_event_table('with_default');
SELECT evstore.create_event_table('with_dropped_column');
SELECT evstore.create_event_table('with_foreign_key');
SELECT evstore.create_event_table('with_plain_indexes');
SELECT evstore.create_event_table('with_other_indexes');

CREATE TABLE seen (by text, stream text, version bigint, "position" bigint);
CREATE FUNCTION see_row() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
	INSERT INTO seen VALUES ('row', NEW.stream, NEW.version, NEW.position);
	RETURN NULL;
END
$$;
CREATE FUNCTION see_statement() RETURNS trigger LANGUAGE plpgsql AS
$$
BEGIN
	INSERT INTO seen SELECT 'statement', stream, version, position FROM inserted;
	RETURN NULL;
END
$$;
CREATE TRIGGER see AFTER INSERT ON with_row_trigger FOR EACH ROW EXECUTE FUNCTION see_row();
CREATE TRIGGER see AFTER INSERT ON with_statement_trigger REFERENCING NEW TABLE AS inserted
	FOR EACH STATEMENT EXECUTE FUNCTION see_statement();
ALTER TABLE with_check ADD CHECK (type <> 'Forbidden');
ALTER TABLE with_row_security ENABLE ROW LEVEL SECURITY;
ALTER TABLE with_row_security FORCE ROW LEVEL SECURITY;
CREATE POLICY allowed ON with_row_security USING (true) WITH CHECK (type <> 'Forbidden');
ALTER TABLE with_generated_column ADD category text GENERATED ALWAYS AS (split_part(stream, '-', 1)) STORED;
ALTER TABLE with_default ADD tenant text NOT NULL DEFAULT 'home', ADD noted_at timestamptz DEFAULT clock_timestamp();
ALTER TABLE with_dropped_column ADD gone integer DEFAULT 1;
ALTER TABLE with_dropped_column DROP gone;
CREATE TABLE known_type (type text COLLATE "C" PRIMARY KEY);
INSERT INTO known_type VALUES ('OrderPlaced'), ('OrderPaid'), ('OrderShipped'), ('Turned'), ('Numbered'), ('受注'), ('A'), ('B'), ('Seated'),
	('Large'), ('Inserted'), ('Appended');
ALTER TABLE with_foreign_key ADD FOREIGN KEY (type) REFERENCES known_type;
CREATE INDEX ON with_plain_indexes (type, recorded_at DESC) INCLUDE (version);
CREATE INDEX ON with_plain_indexes USING hash (stream);
CREATE UNIQUE INDEX ON with_plain_indexes (metadata);
CREATE INDEX ON with_other_indexes (lower(type));
CREATE INDEX ON with_other_indexes USING gin (data jsonb_path_ops);
CREATE INDEX ON with_other_indexes USING gin (tags);
CREATE INDEX ON with_other_indexes USING brin (position, recorded_at) WITH (pages_per_range = 1);
CREATE INDEX ON with_other_indexes (recorded_at) WHERE type = 'OrderPlaced';
CREATE UNIQUE INDEX ON with_other_indexes ((data->>'unique'));

CALL run('plain');
CALL run('with_row_trigger');
CALL run('with_statement_trigger');
CALL run('with_check');
CALL run('with_row_security');
CALL run('with_generated_column');
CALL run('with_default');
CALL run('with_dropped_column');
CALL run('with_foreign_key');
CALL run('with_plain_indexes');
CALL run('with_other_indexes');

-- What the plain table answered, and who answered otherwise: only where
-- policies bind the table's owner, who then cannot check a condition.
SELECT no, answer FROM answer WHERE target = 'plain'::regclass ORDER BY no;
SELECT a.target, a.no, a.answer, p.answer AS plain
FROM answer a JOIN answer p USING (no)
WHERE p.target = 'plain'::regclass AND a.answer IS DISTINCT FROM p.answer
ORDER BY a.target::text, a.no;
SELECT target, count(*) FROM answer GROUP BY target ORDER BY target::text;

-- The rows, by their order instead of their positions: all the same too, but for the
-- three of the conditions.
CREATE FUNCTION rows_of(target regclass) RETURNS TABLE (
	n bigint, version bigint, schema_version integer, id uuid, stream text, type text, data jsonb, metadata jsonb, tags text[])
LANGUAGE plpgsql AS
$$
BEGIN
	RETURN QUERY EXECUTE format('SELECT row_number() OVER (ORDER BY position), version, schema_version, id, stream, type, data, metadata, tags FROM %s', target);
END
$$;
SELECT n, version, schema_version, id, stream, type, left(data::text, 20) AS data, metadata, tags
FROM rows_of('plain') WHERE stream IS DISTINCT FROM 'bulk-1' ORDER BY n;
CREATE TEMP VIEW rows_of_plain AS SELECT * FROM rows_of('plain');
SELECT t.target, count(*) AS differing_rows
FROM (SELECT DISTINCT target FROM answer) t,
	LATERAL ((TABLE rows_of_plain EXCEPT ALL SELECT * FROM rows_of(t.target))
		UNION ALL (SELECT * FROM rows_of(t.target) EXCEPT ALL TABLE rows_of_plain)) d
GROUP BY t.target ORDER BY t.target::text;

-- The row trigger and the statement trigger saw every event once, as stored.
SELECT count(*) AS seen, (SELECT count(*) FROM with_row_trigger) AS stored,
	count(e.position) AS same
FROM seen s LEFT JOIN with_row_trigger e ON e.position = s.position
	AND (e.stream, e.version) IS NOT DISTINCT FROM (s.stream, s.version)
WHERE by = 'row';
SELECT count(*) AS seen, (SELECT count(*) FROM with_statement_trigger) AS stored,
	count(e.position) AS same
FROM seen s LEFT JOIN with_statement_trigger e ON e.position = s.position
	AND (e.stream, e.version) IS NOT DISTINCT FROM (s.stream, s.version)
WHERE by = 'statement';

-- CHECK, policy and foreign key hold, for one event and for many; all or none.
-- (The details name positions and times.)
\set VERBOSITY terse
SELECT version FROM evstore.append('order-1', 'Forbidden', '{}', event_table => 'with_check');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), ('Forbidden', '{}', NULL, NULL, NULL, NULL)]::evstore.new_event[], event_table => 'with_check');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'Forbidden', '{}', event_table => 'with_row_security');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), ('Forbidden', '{}', NULL, NULL, NULL, NULL)]::evstore.new_event[], event_table => 'with_row_security');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'Forbidden', '{}', event_table => 'with_foreign_key');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', ARRAY[('OrderPaid', '{}', NULL, NULL, NULL, NULL), ('Forbidden', '{}', NULL, NULL, NULL, NULL)]::evstore.new_event[], event_table => 'with_foreign_key');
\echo :SQLSTATE
SELECT evstore.stream_version('order-1', 'with_check') AS with_check, evstore.stream_version('order-1', 'with_row_security') AS with_row_security,
	evstore.stream_version('order-1', 'with_foreign_key') AS with_foreign_key;
\set VERBOSITY default

-- Own unique indexes hold, of either kind,
SELECT version FROM evstore.append('unique-1', 'OrderPlaced', '{}', '{"unique": 1}', event_table => 'with_plain_indexes');
SELECT version FROM evstore.append('unique-2', 'OrderPlaced', '{}', '{"unique": 1}', event_table => 'with_plain_indexes');
\echo :SQLSTATE
SELECT version FROM evstore.append('unique-1', 'OrderPlaced', '{"unique": 1}', event_table => 'with_other_indexes');
SELECT version FROM evstore.append('unique-2', 'OrderPlaced', '{"unique": 1}', event_table => 'with_other_indexes');
\echo :SQLSTATE
SELECT evstore.stream_version('unique-2', 'with_plain_indexes') AS with_plain_indexes,
	evstore.stream_version('unique-2', 'with_other_indexes') AS with_other_indexes;
-- and every index has every row.
SET enable_seqscan = off;
SELECT count(*) FROM with_plain_indexes WHERE type = 'Numbered' AND recorded_at IS NOT NULL;
SELECT count(*) FROM with_plain_indexes WHERE stream = 'bulk-1';
SELECT count(*) FROM with_plain_indexes WHERE metadata = '{"unique": 1}';
SELECT count(*) FROM with_other_indexes WHERE lower(type) = 'numbered';
SELECT count(*) FROM with_other_indexes WHERE data @> '{"by": "card"}';
SELECT count(*) FROM with_other_indexes WHERE tags @> '{c}';
SELECT count(*) FROM with_other_indexes WHERE type = 'OrderPlaced' AND recorded_at IS NOT NULL;
SELECT count(*) FROM with_other_indexes WHERE data->>'unique' = '1';
RESET enable_seqscan;

-- Generated columns and defaults are filled in.
SELECT category, count(*) FROM with_generated_column GROUP BY category ORDER BY category COLLATE "C";
SELECT tenant, count(*), count(noted_at) AS noted FROM with_default GROUP BY tenant;

-- A table changes while its session appends: the next append follows.
SELECT evstore.create_event_table('changing');
SELECT version FROM evstore.append('change-1', 'Plain', '{}', event_table => 'changing');
ALTER TABLE changing ADD extra text DEFAULT 'filled';
SELECT version FROM evstore.append('change-1', 'Default', '{}', event_table => 'changing');
ALTER TABLE changing ALTER extra SET DEFAULT 'filled anew';
SELECT version FROM evstore.append('change-1', 'Default changed', '{}', event_table => 'changing');
ALTER TABLE changing ALTER extra DROP DEFAULT;
SELECT version FROM evstore.append('change-1', 'Default dropped', '{}', event_table => 'changing');
ALTER TABLE changing ADD CONSTRAINT short CHECK (type <> 'Too long');
\set VERBOSITY terse
SELECT version FROM evstore.append('change-1', 'Too long', '{}', event_table => 'changing');
\set VERBOSITY default
ALTER TABLE changing DROP CONSTRAINT short;
SELECT version FROM evstore.append('change-1', 'Too long', '{}', event_table => 'changing');
CREATE INDEX changing_type ON changing (type);
SELECT version FROM evstore.append('change-1', 'Indexed', '{}', event_table => 'changing');
ALTER TABLE changing DROP extra;
SELECT version FROM evstore.append('change-1', 'Dropped', '{}', event_table => 'changing');
TRUNCATE seen;
CREATE TRIGGER see AFTER INSERT ON changing FOR EACH ROW EXECUTE FUNCTION see_row();
SELECT version FROM evstore.append('change-1', 'Trigger', '{}', event_table => 'changing');
ALTER TABLE changing DISABLE TRIGGER see;
SELECT version FROM evstore.append('change-1', 'Trigger off', '{}', event_table => 'changing');
DROP TRIGGER see ON changing;
SELECT version FROM evstore.append('change-1', 'No trigger', '{}', event_table => 'changing');
SELECT stream, version FROM seen;
ALTER TABLE changing RENAME TO changed;
SELECT version FROM evstore.append('change-1', 'Renamed', '{}', event_table => 'changed');
SELECT version, type FROM changed ORDER BY position;
SET enable_seqscan = off;
SELECT count(*) FROM changed WHERE type = 'Indexed';
RESET enable_seqscan;

-- It follows a change that is rolled back, too.
BEGIN;
CREATE TRIGGER see AFTER INSERT ON changed FOR EACH ROW EXECUTE FUNCTION see_row();
SELECT version FROM evstore.append('change-1', 'Never', '{}', event_table => 'changed');
SELECT stream, version FROM seen;
ROLLBACK;
SELECT version FROM evstore.append('change-1', 'After', '{}', event_table => 'changed');
SELECT stream, version FROM seen;

RESET ROLE;
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_append_paths CASCADE;
DROP ROLE regress_append_paths;
