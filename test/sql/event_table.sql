-- Event tables: what is made, under which name and rights, and how one is
-- dropped again.

-- what matters of an error is what it says, not where it was raised
\set SHOW_CONTEXT never
CREATE SCHEMA regress_event_table;
SET search_path = regress_event_table;

-- The default name is events. The answer is the table.
SELECT evstore.create_event_table();

SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null,
	atthasdef AS has_default, collname
FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation
WHERE attrelid = 'events'::regclass AND attnum > 0
ORDER BY attnum;

SELECT conname, contype, pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid = 'events'::regclass AND contype IN ('p', 'u')
ORDER BY conname COLLATE "C";

SELECT pg_get_indexdef(indexrelid) AS index
FROM pg_index WHERE indrelid = 'events'::regclass
ORDER BY pg_get_indexdef(indexrelid) COLLATE "C";

-- All triggers fire whatever session_replication_role says.
SELECT tgname, tgenabled, pg_get_triggerdef(oid)
FROM pg_trigger WHERE tgrelid = 'events'::regclass
ORDER BY tgname;

-- A row of the table has the shape of evstore.event.
SELECT count(*) AS columns,
	count(*) FILTER (WHERE t.attname = e.attname AND t.atttypid = e.atttypid
		AND t.attcollation = e.attcollation) AS same
FROM pg_attribute t
	FULL JOIN pg_attribute e ON e.attnum = t.attnum AND e.attrelid = 'evstore.event'::regclass
WHERE t.attrelid = 'events'::regclass AND t.attnum > 0;

-- The batch view stands beside the table, has its columns, and is empty.
SELECT relname, relkind, pg_get_userbyid(relowner) = CURRENT_USER AS mine
FROM pg_class WHERE relnamespace = 'regress_event_table'::regnamespace AND relkind IN ('r', 'v')
ORDER BY relname;
SELECT count(*) AS differing_columns
FROM pg_attribute t
	FULL JOIN pg_attribute v ON v.attname = t.attname AND v.atttypid = t.atttypid
		AND v.attrelid = 'new_events'::regclass
WHERE t.attrelid = 'events'::regclass AND t.attnum > 0 AND v.attname IS NULL;
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}');
SELECT count(*) FROM events;
SELECT count(*) FROM new_events;

-- Neither is a member of the extension: DROP EXTENSION cannot take data along.
SELECT count(*) AS members
FROM pg_depend
WHERE classid = 'pg_class'::regclass AND deptype = 'e'
	AND objid IN ('events'::regclass, 'new_events'::regclass);

-- Other names, other schemas, odd names.
CREATE SCHEMA regress_event_table_2;
SELECT evstore.create_event_table('ledger');
SELECT evstore.create_event_table('regress_event_table_2.events');
SELECT evstore.create_event_table('"Odd ""name"""');
SELECT evstore.create_event_table('LowerCased');
SELECT evstore.create_event_table(NULL);
SELECT relnamespace::regnamespace, relname, relkind
FROM pg_class
WHERE relnamespace IN ('regress_event_table'::regnamespace, 'regress_event_table_2'::regnamespace)
	AND relkind IN ('r', 'v')
ORDER BY relnamespace::regnamespace::text, relname COLLATE "C";
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', event_table => '"Odd ""name"""');
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', event_table => 'regress_event_table_2.events');

-- Every position is above those of the other tables: one order for all.
SELECT count(DISTINCT position) AS positions, count(*) AS events
FROM (SELECT position FROM events UNION ALL SELECT position FROM "Odd ""name"""
	UNION ALL SELECT position FROM regress_event_table_2.events) all_tables;

-- Names that cannot be.
SELECT evstore.create_event_table();
\echo :SQLSTATE
SELECT evstore.create_event_table('regress_no_such_schema.events');
\echo :SQLSTATE
SELECT evstore.create_event_table('');
\echo :SQLSTATE
SELECT evstore.create_event_table('a.b.c.d');
\echo :SQLSTATE
SELECT evstore.create_event_table('two words');
\echo :SQLSTATE
SELECT evstore.create_event_table('pg_catalog.events');
\echo :SQLSTATE
SELECT evstore.create_event_table('pg_temp.events');
\echo :SQLSTATE

-- The longest name that leaves room for new_ is 59 bytes.
SELECT evstore.create_event_table(repeat('n', 59)) = repeat('n', 59)::regclass AS made,
	to_regclass('new_' || repeat('n', 59)) IS NOT NULL AS view_made;
SELECT evstore.create_event_table(repeat('m', 60));
\echo :SQLSTATE

-- Where the batch view's name is taken, nothing is made.
CREATE TABLE new_taken ();
SELECT evstore.create_event_table('taken');
\echo :SQLSTATE
SELECT to_regclass('taken') AS taken;

-- The first schema of search_path is where it goes; without one, nowhere.
SET search_path = regress_event_table_2, regress_event_table;
SELECT evstore.create_event_table('in_second');
SELECT to_regclass('regress_event_table_2.in_second') IS NOT NULL AS made;
SET search_path = '';
SELECT evstore.create_event_table('nowhere');
\echo :SQLSTATE
SET search_path = regress_event_table;

-- It takes the right to create in the schema, and the table is its maker's.
CREATE ROLE regress_event_table_maker;
GRANT USAGE ON SCHEMA regress_event_table TO regress_event_table_maker;
SET ROLE regress_event_table_maker;
\set VERBOSITY terse
SELECT evstore.create_event_table('hers');
\set VERBOSITY default
\echo :SQLSTATE
RESET ROLE;
GRANT CREATE ON SCHEMA regress_event_table TO regress_event_table_maker;
SET ROLE regress_event_table_maker;
SELECT evstore.create_event_table('hers');
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', event_table => 'hers');
RESET ROLE;
-- Nobody else has a right to it. The batch view is open to all, and shows each
-- reader what the table would.
SELECT relname, pg_get_userbyid(relowner) AS owner, reloptions,
	has_table_privilege('pg_monitor', oid, 'SELECT') AS select, has_table_privilege('pg_monitor', oid, 'INSERT') AS insert
FROM pg_class WHERE relname IN ('hers', 'new_hers')
ORDER BY relname;

-- It is transactional.
BEGIN;
SELECT evstore.create_event_table('short_lived');
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', event_table => 'short_lived');
ROLLBACK;
SELECT to_regclass('short_lived') AS table, to_regclass('new_short_lived') AS view;
BEGIN READ ONLY;
SELECT evstore.create_event_table('read_only');
\echo :SQLSTATE
ROLLBACK;

-- Dropping takes a superuser with evstore.maintenance on.
SELECT evstore.drop_event_table('ledger');
\echo :SQLSTATE
SET ROLE regress_event_table_maker;
SELECT evstore.drop_event_table('hers');
\echo :SQLSTATE
RESET ROLE;
SET evstore.maintenance = on;
CREATE TABLE plain (x integer);
SELECT evstore.drop_event_table('plain');
\echo :SQLSTATE
SELECT evstore.drop_event_table('new_events');
\echo :SQLSTATE
SELECT evstore.drop_event_table(NULL);
SELECT evstore.drop_event_table('ledger');
SELECT evstore.drop_event_table('hers');
SELECT to_regclass('ledger') AS table, to_regclass('new_ledger') AS view;
-- a name that was freed can be used again
SELECT evstore.create_event_table('ledger');
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', event_table => 'ledger');

-- A table that others depend on is not dropped from under them.
CREATE VIEW orders AS SELECT * FROM ledger;
SELECT evstore.drop_event_table('ledger');
\echo :SQLSTATE
DROP VIEW orders;
SELECT evstore.create_projection('regress_ledger', query => 'SELECT stream, count(*) AS events FROM ledger GROUP BY stream');
CREATE TABLE copied (stream text);
SELECT evstore.create_projection('regress_copied', event_table => 'ledger', statement => 'INSERT INTO copied SELECT stream FROM new_ledger');
SELECT evstore.drop_event_table('ledger');
\echo :SQLSTATE
SELECT evstore.drop_projection('regress_ledger');
SELECT evstore.drop_event_table('ledger');
\echo :SQLSTATE
SELECT evstore.drop_projection('regress_copied');
SELECT count(*) FROM ledger;
-- renamed, it goes with its batch view all the same
ALTER TABLE ledger RENAME TO old_ledger;
SELECT evstore.drop_event_table('old_ledger');
SELECT to_regclass('old_ledger') AS table, to_regclass('new_ledger') AS view;

SET client_min_messages = warning;
DROP SCHEMA regress_event_table, regress_event_table_2 CASCADE;
DROP ROLE regress_event_table_maker;
