-- Everything public is explained twice: by a COMMENT in the catalog, and by an
-- entry of its own in docs/reference.md. Public is what has no leading
-- underscore. Run from the top of the source tree.
\set ECHO none
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
\set reference `cat docs/reference.md`

BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS evstore;

-- Each object of the extension with its kind, its bare name and its comment.
CREATE TEMP VIEW object AS
	SELECT CASE p.prokind WHEN 'a' THEN 'aggregate' ELSE 'function' END AS kind, p.proname AS name,
		p.oid::regprocedure::text AS title, obj_description(p.oid, 'pg_proc') AS comment
	FROM pg_proc p WHERE p.pronamespace = 'evstore'::regnamespace
	UNION ALL
	SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'r' THEN 'table' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'type'
			ELSE 'relation of kind ' || c.relkind::text END,
		c.relname, c.oid::regclass::text,
		CASE c.relkind WHEN 'c' THEN obj_description(c.reltype, 'pg_type') ELSE obj_description(c.oid, 'pg_class') END
	FROM pg_class c WHERE c.relnamespace = 'evstore'::regnamespace AND c.relkind <> 'i'
	UNION ALL
	SELECT 'type', t.typname, t.oid::regtype::text, obj_description(t.oid, 'pg_type')
	FROM pg_type t
	WHERE t.typnamespace = 'evstore'::regnamespace AND t.typtype IN ('e', 'd', 'r');
CREATE TEMP VIEW public_object AS
	SELECT * FROM object WHERE left(name, 1) <> '_';

SELECT * FROM no_plan();

SELECT cmp_ok(count(*), '>=', 15::bigint, 'there are public objects to look at') FROM public_object;

SELECT ok(coalesce(comment, '') <> '', format('%s %s has a comment', kind, title))
FROM public_object ORDER BY kind, title;

-- A heading in third place names what its entry is about: "### evstore.append(...)".
CREATE TEMP TABLE heading AS
	SELECT line FROM regexp_split_to_table(:'reference', E'\n') line WHERE line LIKE '### %';
SELECT ok(EXISTS (SELECT FROM heading WHERE line ~ ('\mevstore\.' || name || '\M')),
	format('%s evstore.%s has an entry in docs/reference.md', kind, name))
FROM (SELECT DISTINCT kind, name FROM public_object) o ORDER BY kind, name;

-- And the reverse: no entry outlives its object.
SELECT ok(EXISTS (SELECT FROM public_object WHERE name = entry)
		OR EXISTS (SELECT FROM pg_settings WHERE pg_settings.name = 'evstore.' || entry),
	format('the entry evstore.%s in docs/reference.md is about something that exists', entry))
FROM (SELECT DISTINCT (regexp_match(line, '\mevstore\.(\w+)'))[1] AS entry FROM heading WHERE line ~ '\mevstore\.\w') e
ORDER BY entry;

-- Every setting has an entry, and says what it is for.
SELECT ok(EXISTS (SELECT FROM heading WHERE line ~ ('\m' || replace(name, '.', '\.') || '\M')),
	format('setting %s has an entry in docs/reference.md', name))
FROM pg_settings WHERE name LIKE 'evstore.%' ORDER BY name;
SELECT ok(coalesce(short_desc, '') <> '', format('setting %s has a description', name))
FROM pg_settings WHERE name LIKE 'evstore.%' ORDER BY name;
SELECT cmp_ok(count(*), '>=', 5::bigint, 'there are settings to look at') FROM pg_settings WHERE name LIKE 'evstore.%';

SELECT * FROM finish();
ROLLBACK;
