# A hostile schema on the search path.  Mallory may create objects in a schema
# of his own, and has in it a namesake of everything: every function, operator,
# type and catalog of PostgreSQL, and overloads that suit odd arguments better
# than PostgreSQL's own.  Each does what it should and, besides, tries to make
# him a superuser and says so in the log.
#
# His schema is on the path of every session of the database, the workers' too,
# ahead of pg_catalog or behind it; it was there before CREATE EXTENSION or is
# filled after it; and decoys stand in the superuser's own pg_temp.  Whatever the
# superuser asks of evstore, nothing of Mallory's runs with his rights.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main', conf => q{
autovacuum = off
log_statement = none
evstore.workers = 1
max_worker_processes = 20
});
$node->safe_psql('postgres', 'CREATE ROLE mallory');

# Fill Mallory's schema: SQL for a database in which he has one.
my $namesakes = <<'SQL';
SET ROLE mallory;
SET search_path = pg_catalog, pg_temp;
SET check_function_bodies = off;
CREATE FUNCTION mallory.trap(what text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
	RAISE LOG 'trapped by % as %', what, current_user;
	IF current_user <> 'mallory' THEN
		ALTER ROLE mallory SUPERUSER;
	END IF;
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	RETURN true;
END
$$;

-- Execute what can be executed, and pass over the rest; the number that could.
CREATE FUNCTION mallory.make(commands text[]) RETURNS integer LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	command text;
	made integer := 0;
BEGIN
	FOREACH command IN ARRAY commands LOOP
		BEGIN
			EXECUTE command;
			made := made + 1;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
	RETURN made;
END
$$;

-- Functions: the same arguments, and arguments to which PostgreSQL's would have to be stretched.
CREATE TEMP TABLE stretched AS SELECT * FROM (VALUES
	('oid'::regtype, ARRAY['regclass', 'regrole', 'regprocedure']::regtype[]), ('text', ARRAY['name', 'varchar']::regtype[]),
	('bigint', ARRAY['integer']::regtype[])) stretched(type, variants);
SELECT mallory.make(array_agg(DISTINCT format(
	'CREATE FUNCTION mallory.%I(%s) RETURNS %s LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS %L', proname, variant.arguments,
	CASE WHEN proretset THEN 'SETOF ' ELSE '' END || format_type(prorettype, NULL),
	format('BEGIN PERFORM mallory.trap(%L); %s pg_catalog.%I(%s); END', 'function ' || proname,
		CASE WHEN proretset THEN 'RETURN QUERY SELECT' ELSE 'RETURN' END, proname,
		(SELECT string_agg(format('$%s::%s', n, format_type(type, NULL)), ', ' ORDER BY n) FROM unnest(proargtypes) WITH ORDINALITY a(type, n))))))
	> 3000 AS functions
FROM pg_proc p, LATERAL (
	SELECT (SELECT string_agg(format_type(type, NULL), ', ' ORDER BY n) FROM unnest(proargtypes) WITH ORDINALITY a(type, n))
	UNION
	SELECT (SELECT string_agg(format_type(CASE type WHEN s.type THEN v ELSE type END, NULL), ', ' ORDER BY n)
		FROM unnest(proargtypes) WITH ORDINALITY a(type, n))
	FROM stretched s, unnest(variants) v WHERE s.type = ANY (p.proargtypes::oid[])) variant(arguments)
WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0
	AND NOT EXISTS (SELECT FROM unnest(proargtypes::oid[] || prorettype) type
		WHERE type IN ('internal'::regtype, 'cstring'::regtype, 'record'::regtype, 'trigger'::regtype, 'event_trigger'::regtype));
SELECT mallory.make(array_agg(format('CREATE FUNCTION mallory.%1$s_step(state %2$s, value %2$s) RETURNS %2$s LANGUAGE plpgsql AS %3$L',
	name, type, format('BEGIN PERFORM mallory.trap(%L); RETURN value; END', 'aggregate ' || name))
	|| format('; CREATE AGGREGATE mallory.%1$s(%2$s) (SFUNC = mallory.%1$s_step, STYPE = %2$s)', name, type))) > 8 AS aggregates
FROM unnest(ARRAY['sum', 'min', 'max', 'avg', 'bool_and']) name, unnest(ARRAY['bigint', 'integer', 'text']) type;
CREATE FUNCTION mallory.count_step(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.trap('aggregate count'); RETURN $1 + 1; END $$;
CREATE AGGREGATE mallory.count(*) (SFUNC = mallory.count_step, STYPE = bigint, INITCOND = '0');

-- Operators, in the same two ways.
CREATE TEMP TABLE operator AS
	SELECT row_number() OVER () AS number, oprname AS name, l, r, o FROM (
		SELECT oprname, CASE oprleft WHEN 0 THEN NULL ELSE format_type(oprleft, NULL) END, format_type(oprright, NULL), format_type(oprresult, NULL)
		FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprresult <> 0
		UNION
		SELECT op, format_type(l, NULL), format_type(r, NULL), CASE WHEN op IN ('+', '-') THEN 'bigint' ELSE 'boolean' END
		FROM unnest(ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-']) op,
			unnest('{bigint,integer,smallint,oid,regclass,regrole,regnamespace,regtype,text,name,"char",uuid,jsonb,timestamptz,text[]}'::regtype[]) l,
			unnest('{bigint,integer,smallint,oid,regclass,regrole,regnamespace,regtype,text,name,"char",uuid,jsonb,timestamptz,text[]}'::regtype[]) r
		WHERE NOT EXISTS (SELECT FROM pg_operator WHERE oprname = op AND oprleft = l AND oprright = r)
	) o(oprname, l, r, o);
SELECT mallory.make(array_agg(format('CREATE FUNCTION mallory.operate_%s(%s) RETURNS %s LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS %L',
	number, concat_ws(', ', l, r), o, format('BEGIN PERFORM mallory.trap(%L); RETURN %s OPERATOR(pg_catalog.%s) %s; END',
		'operator ' || concat_ws(' ', l, name, r), CASE WHEN l IS NULL THEN '' ELSE '$1' END, name, CASE WHEN l IS NULL THEN '$1' ELSE '$2' END))
	|| format('; CREATE OPERATOR mallory.%s (FUNCTION = mallory.operate_%s%s, RIGHTARG = %s)', name, number, ', LEFTARG = ' || l, r))) > 1500 AS operators
FROM operator;

-- Types and catalogs.
SELECT mallory.make(array_agg(format('CREATE DOMAIN mallory.%I AS pg_catalog.%1$I CHECK (mallory.trap(%2$L))', typname, 'type ' || typname))) > 50 AS types
FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0;
SELECT mallory.make(array_agg(format('CREATE VIEW mallory.%I AS SELECT * FROM pg_catalog.%1$I WHERE mallory.trap(%2$L)', relname, 'catalog ' || relname))) > 100 AS catalogs
FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v');
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
SQL

# Decoys in the session's own temporary schema, which is searched first for tables and types.
my $decoys = <<'SQL';
SET search_path = pg_catalog, pg_temp;
SET client_min_messages = error;
SELECT mallory.make(array_agg(format('CREATE TEMP VIEW pg_temp.%I AS SELECT * FROM mallory.%1$I', relname))) FROM pg_class
WHERE relnamespace = 'mallory'::regnamespace AND relkind = 'v';
SELECT mallory.make(array_agg(format('CREATE DOMAIN pg_temp.%I AS pg_catalog.%1$I CHECK (mallory.trap(%2$L))', typname, 'temporary type ' || typname)))
FROM pg_type WHERE typnamespace = 'mallory'::regnamespace AND typtype = 'd';
SELECT mallory.make(array_agg(format('CREATE TEMP TABLE pg_temp.%I (nothing boolean)', name)))
FROM unnest(ARRAY['_projection', '_checkpoint', 'maintenance_log', 'projections', 'appenders', 'events', 'new_events']) name;
RESET search_path;
RESET client_min_messages;
SQL

# All that a user asks of evstore.  No name here is left to the search path.
my $create = <<'SQL';
CREATE EXTENSION evstore;
SELECT evstore.create_event_table('public.events');
CREATE TABLE public.copied (stream pg_catalog.text);
CREATE TABLE public.scratch (x pg_catalog.int4);
SELECT evstore.create_projection('by_type', read_table => 'public.by_type', event_table => 'public.events', query =>
	'SELECT type, pg_catalog.count(*) AS n, pg_catalog.sum(version) AS total, pg_catalog.max(stream) AS last FROM public.events GROUP BY type');
SELECT evstore.create_projection('copies', event_table => 'public.events', statement =>
	'INSERT INTO public.copied SELECT stream FROM public.new_events');
GRANT SELECT ON public.events, public.new_events TO mallory;
SQL
# (each time with streams of its own)
sub using
{
	my ($turn) = @_;
	my $id = "00000000-0000-0000-0000-00000000000$turn";

	return <<"SQL";
SET evstore.event_table = 'public.events';
SELECT * FROM evstore.append('order-$turn-1', 'Placed', '{"n": 1}');
SELECT * FROM evstore.append('order-$turn-1', 'Paid', '{}', '{"by": "me"}', 1, '$id', '{a}');
SELECT * FROM evstore.append('order-$turn-2', evstore.events('[{"type": "Placed", "data": {}}, {"type": "Paid", "data": {}}]'), 0);
INSERT INTO public.events (stream, type, data) VALUES ('order-$turn-3', 'Placed', '{}');
COPY public.events (stream, type, data) FROM stdin;
order-$turn-3	Paid	{}
\\.
SELECT * FROM evstore.append('order-$turn-1', 'Placed', '{}', expected_version => 0);
SELECT * FROM evstore.append('order-$turn-1', 'Placed', '{}', id => '$id');
SELECT * FROM evstore.append('order-$turn-1', 'Paid', '{}', '{"by": "me"}', 1, '$id', '{a}');
SELECT * FROM evstore.append_streams('{"(order-$turn-4,\\"{\\"\\"(Placed,{},,,,)\\"\\"}\\",0)","(order-$turn-1,,2)"}');
SELECT evstore.expect_version('order-$turn-4', 1);
SELECT * FROM evstore.append_if(evstore.events('[{"type": "Seated", "data": {}, "tags": ["seat:$turn"]}]'),
	'{"items": [{"tags": ["seat:$turn"]}, {"types": ["Never"]}]}', stream => 'seat-$turn');
SELECT * FROM evstore.append_if(evstore.events('[{"type": "Seated", "data": {}, "tags": ["seat:$turn"]}]'),
	'{"items": [{"types": ["Seated"], "tags": ["seat:$turn"]}]}', stream => 'seat-$turn');
SELECT * FROM evstore.read_by('{"items": [{"tags": ["a"]}, {"types": ["Placed"]}]}');
SELECT evstore.read_position();
SELECT * FROM evstore.read_stream('order-$turn-1');
SELECT * FROM evstore.read_stream('order-$turn-1', backwards => true);
SELECT * FROM evstore.read_events(types => '{Paid}', categories => '{order}');
SELECT evstore.stream_version('order-$turn-3');
SELECT * FROM public.new_events;
SELECT evstore.wait_for('by_type'), evstore.wait_for('copies');
SELECT * FROM evstore.projections;
SELECT * FROM evstore.appenders;
SELECT evstore.pause_projection('copies');
SELECT evstore.resume_projection('copies');
DELETE FROM public.events;
ALTER TABLE public.events DISABLE TRIGGER ALL;
SELECT evstore.protect('public.scratch');
DELETE FROM public.scratch;
SQL
}
my $drop = <<'SQL';
SET evstore.maintenance = on;
SELECT evstore.drop_projection('by_type');
SELECT evstore.drop_projection('copies');
SELECT evstore.drop_projection('left_behind');
SELECT evstore.drop_event_table('public.events');
DROP TABLE public.scratch;
DROP EXTENSION evstore;
SQL

# What of Mallory's has run as anybody else, since the log had this length.
sub traps
{
	my ($log) = @_;
	my %sprung = map { $_ => 1 } slurp_file($node->logfile, $log) =~ /LOG:  trapped by (.* as (?!mallory).*)/g;

	return join "\n", sort keys %sprung;
}

# The superuser runs SQL, with just these SQLSTATEs, and springs none of the traps.
sub safe
{
	my ($db, $sql, $errors, $test_name) = @_;
	my $log = -s $node->logfile;
	my (undef, $out, $err) = $node->psql($db, $sql, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	is(join(' ', $err =~ /ERROR:  (\w+)/g), $errors, "$test_name: does what it should") or diag "$out\n$err";
	is(traps($log), '', "$test_name: nothing of Mallory's runs");
	return $out;
}

# Mallory's own projection, by the same worker: it may do what he may, and leaves nothing behind.
my $leave = <<'SQL';
SET ROLE mallory;
CREATE FUNCTION mallory.leave(stream pg_catalog.text) RETURNS pg_catalog.text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM mallory.make(ARRAY['CREATE TEMP TABLE copied (stream text)', 'CREATE TEMP VIEW pg_class AS SELECT * FROM mallory.pg_class',
		'CREATE DOMAIN pg_temp.int8 AS bigint CHECK (mallory.trap(''what was left''))',
		'CREATE DOMAIN pg_temp.text AS text CHECK (mallory.trap(''what was left''))',
		'CREATE FUNCTION pg_temp.now() RETURNS integer LANGUAGE sql AS ''SELECT 1 WHERE mallory.trap(''''what was left'''')''']);
	SET search_path = mallory, pg_catalog;
	SET evstore.event_table = 'mallory.events';
	RETURN stream;
END
$$;
CREATE TABLE mallory.copied (stream pg_catalog.text);
SELECT evstore.create_projection('left_behind', event_table => 'public.events', statement =>
	'INSERT INTO mallory.copied SELECT mallory.leave(stream) FROM public.new_events');
RESET ROLE;
SELECT evstore.append('order-9', 'Placed', '{}', event_table => 'public.events');
SELECT evstore.wait_for('left_behind');
SQL

my $differences = <<'SQL';
SET search_path = pg_catalog;
SELECT (SELECT count(*) FROM public.copied) = (SELECT count(*) FROM public.events), NOT EXISTS (
	SELECT type, n, total, last FROM public.by_type EXCEPT
	SELECT type, count(*), sum(version), max(stream) FROM public.events GROUP BY type);
SQL

# One database: its path, and when Mallory comes.
sub attack
{
	my ($db, $path, $when, $careless) = @_;
	my $name = "$when CREATE EXTENSION, path $path";

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, $create) if $when eq 'after';
	$node->safe_psql($db, 'CREATE SCHEMA AUTHORIZATION mallory');
	is($node->safe_psql($db, $namesakes), "t\nt\nt\nt\nt", "$name: Mallory has his namesakes");
	$node->safe_psql('postgres', "ALTER DATABASE $db SET search_path = $path");
	$node->safe_psql('postgres',
		"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '$db' AND backend_type = 'evstore worker'")
	  if $when eq 'after';

	my $refused = 'VE001 VE003 VE004 VE005 VE005 VE005';
	my $log = -s $node->logfile;
	safe($db, $create, '', "$name: creating") if $when eq 'before';
	safe($db, using(1), $refused, "$name: using");
	safe($db, $decoys . using(2), $refused, "$name: using, with decoys in pg_temp");
	safe($db, $leave, '', "$name: another's projection in the same worker");
	safe($db, using(3), $refused, "$name: using after it");
	is($node->safe_psql($db, $differences), 't|t', "$name: what is kept is right");
	safe($db, $drop, '', "$name: dropping");
	is(traps($log), '', "$name: nor in a worker");
	is($node->safe_psql('postgres', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f', "$name: Mallory is no superuser");

	# Had anything of his run, he would be.
	$node->safe_psql($db, $careless);
	is($node->safe_psql('postgres', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 't', "$name: one careless query, and he is");
	$node->safe_psql('postgres', 'ALTER ROLE mallory NOSUPERUSER');
	return;
}

attack('ahead', 'mallory, pg_catalog, public', 'before', 'SELECT 1::pg_catalog.int8 = 1::pg_catalog.int8');
attack('behind', 'mallory, public', 'before', 'SELECT 1::pg_catalog.int8 = 1::pg_catalog.oid');
attack('later', 'mallory, pg_catalog, public', 'after', q{SELECT pg_catalog.count(*) FROM pg_class});

# Nor does the extension move into a schema that is not its owner's: Mallory could
# put overloads of its functions beside them.
$node->safe_psql('postgres', 'CREATE DATABASE squatted');
$node->safe_psql('squatted', 'CREATE SCHEMA evstore AUTHORIZATION mallory');
my (undef, undef, $refusal) = $node->psql('squatted', 'CREATE EXTENSION evstore');
like($refusal, qr/ERROR: .*schema/, 'CREATE EXTENSION refuses a schema that somebody else has made');
is($node->safe_psql('squatted', q{SELECT count(*) FROM pg_extension WHERE extname = 'evstore'}), '0', 'and nothing is created');

done_testing();
