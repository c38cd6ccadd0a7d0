-- No function of the extension lends its owner's rights or can be led astray
-- by the caller's search_path; what is private is not for everyone.
\set ECHO none
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on

BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS evstore;

SELECT * FROM no_plan();

SELECT cmp_ok(count(*), '>=', 20::bigint, 'there are functions to look at')
FROM pg_proc WHERE pronamespace = 'evstore'::regnamespace;

-- SECURITY DEFINER only with a pinned search_path.
SELECT ok(NOT prosecdef OR EXISTS (SELECT FROM unnest(proconfig) setting WHERE setting LIKE 'search\_path=%'),
	format('%s is not SECURITY DEFINER, or has its search_path pinned', oid::regprocedure))
FROM pg_proc WHERE pronamespace = 'evstore'::regnamespace ORDER BY oid::regprocedure::text;

-- A body in SQL or plpgsql finds what it names: BEGIN ATOMIC or a pinned search_path.
SELECT ok(prosqlbody IS NOT NULL OR EXISTS (SELECT FROM unnest(proconfig) setting WHERE setting LIKE 'search\_path=%'),
	format('%s has BEGIN ATOMIC or its search_path pinned', p.oid::regprocedure))
FROM pg_proc p JOIN pg_language l ON l.oid = prolang
WHERE pronamespace = 'evstore'::regnamespace AND prokind <> 'a' AND lanname NOT IN ('c', 'internal')
ORDER BY p.oid::regprocedure::text;

-- None is LEAKPROOF; what writes does not run in parallel; what sees more than
-- the statement's snapshot is VOLATILE.
SELECT ok(NOT proleakproof, format('%s is not LEAKPROOF', oid::regprocedure))
FROM pg_proc WHERE pronamespace = 'evstore'::regnamespace ORDER BY oid::regprocedure::text;
SELECT is(proparallel, 'u'::"char", format('%s is PARALLEL UNSAFE: it writes', oid::regprocedure))
FROM pg_proc
WHERE pronamespace = 'evstore'::regnamespace
	AND (proname = 'append' OR proname ~ '^(create|drop|protect|_insert|_guard)')
ORDER BY oid::regprocedure::text;
SELECT is(provolatile, 'v'::"char", format('%s is VOLATILE: its answer changes within a statement', oid::regprocedure))
FROM pg_proc
WHERE pronamespace = 'evstore'::regnamespace
	AND (proname = 'append' OR proname ~ '^(create|drop|protect|read_|stream_version|wait_for|_safe_position|_appenders)')
ORDER BY oid::regprocedure::text;

-- Who may do what, seen by a role that has been granted nothing.
CREATE ROLE evstore_pgtap_nobody;
SELECT ok(has_schema_privilege('evstore_pgtap_nobody', 'evstore', 'USAGE'), 'everyone may use the schema');
SELECT ok(NOT has_schema_privilege('evstore_pgtap_nobody', 'evstore', 'CREATE'), 'not everyone may create in the schema');
-- (the triggers of event tables belong to whoever makes one; the other is ours alone)
SELECT is(has_function_privilege('evstore_pgtap_nobody', oid, 'EXECUTE'), proname NOT IN ('_projection_arrives', '_shape_changes'),
	format('%s execute %s', CASE WHEN proname IN ('_projection_arrives', '_shape_changes') THEN 'not everyone may' ELSE 'everyone may' END, oid::regprocedure))
FROM pg_proc WHERE pronamespace = 'evstore'::regnamespace ORDER BY oid::regprocedure::text;
SELECT ok(NOT has_table_privilege('evstore_pgtap_nobody', oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'),
	format('not everyone may change %s', oid::regclass))
FROM pg_class WHERE relnamespace = 'evstore'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname;
SELECT is(has_table_privilege('evstore_pgtap_nobody', oid, 'SELECT'), relkind = 'v',
	format('%s read %s', CASE relkind WHEN 'v' THEN 'everyone may' ELSE 'not everyone may' END, oid::regclass))
FROM pg_class WHERE relnamespace = 'evstore'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname;
SELECT ok(NOT has_sequence_privilege('evstore_pgtap_nobody', oid, 'USAGE, UPDATE'),
	format('not everyone may move %s', oid::regclass))
FROM pg_class WHERE relnamespace = 'evstore'::regnamespace AND relkind = 'S' ORDER BY relname;

-- pg_upgrade cannot carry columns of these types over.
SELECT is_empty(
	$$SELECT attrelid::regclass, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
		WHERE relnamespace = 'evstore'::regnamespace AND relkind = 'r' AND attnum > 0
			AND atttypid IN ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype, 'regoperator'::regtype,
				'regnamespace'::regtype, 'regcollation'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype)$$,
	'no column has a type that pg_upgrade refuses');

-- pg_dump takes along what users put into the extension's tables; snapshots and audits are made anew from the events.
SELECT ok(c.oid = ANY (e.extconfig), format('pg_dump saves the contents of %s', c.oid::regclass))
FROM pg_class c CROSS JOIN pg_extension e
WHERE e.extname = 'evstore' AND relnamespace = 'evstore'::regnamespace AND relkind IN ('r', 'S') AND relname NOT IN ('_snapshot', '_audit') ORDER BY relname;

SELECT * FROM finish();
ROLLBACK;
