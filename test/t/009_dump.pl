# pg_dump and restore into a new database, as plain SQL through psql, from an
# archive or a directory through parallel pg_restore, and the schema first and
# the data alone later.  Workers of the new database start as
# soon as the extension is there, while the tables are still being filled: they
# must not touch anything before it is whole.  A query projection goes on by
# itself when it is; a statement projection waits until it is told to.
#
# To make that hard, the projections of the source lag when it is dumped, so
# that the new database's workers have work to do from the first moment; and in
# one of the restores the events come last, after everything else is in place.
# Where the data come alone, they meet the triggers of the event tables: every
# row is a restored event, and all must come in one transaction.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main', conf => q{
max_worker_processes = 30
log_statement = none
});
make_store($node, 'postgres');
$node->safe_psql(
	'postgres', q{
	CREATE ROLE clerk;
	GRANT INSERT ON events TO clerk;
	CREATE SCHEMA app;
	SELECT evstore.create_event_table('app.journal');
	SELECT evstore.create_projection('entries', event_table => 'app.journal', read_table => 'app.entries',
		query => 'SELECT type, count(*) AS n, avg("position") AS middle FROM app.journal GROUP BY type');
	SELECT evstore.create_projection('spread', read_table => 'app.spread', query => $$
		SELECT type, round(stddev(version), 3) AS deviation, count(*) - 1 AS others FROM app.journal GROUP BY type HAVING count(*) > 0$$);
	SELECT evstore.create_projection('both', read_table => 'app.both', query => $$
		SELECT b.type, count(*) AS n FROM (SELECT type FROM app.journal UNION ALL SELECT type FROM public.events) b GROUP BY b.type$$);
	SELECT evstore.create_projection('whole', read_table => 'app.whole', query => 'SELECT count(*) AS n, variance(version) AS spread FROM app.journal');
	CREATE FUNCTION app.kept_2(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"shape": 2}'$$;
	SELECT evstore.create_upcaster('Kept', 1, 'app.kept_2', 'app.journal');
	CREATE FUNCTION app.is_object(data jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$SELECT jsonb_typeof(data) = 'object'$$;
	SELECT evstore.create_event_type('Made', 1, 'app.is_object', event_table => 'app.journal');
	CREATE TYPE app.kept AS (shape integer);
	SELECT evstore.create_event_type('Kept', 1, 'app.kept', event_table => 'app.journal');
	SELECT evstore.create_projection('shapes', read_table => 'app.shapes', query => $$
		SELECT data->>'shape' AS shape, count(*) AS n FROM app.journal GROUP BY data->>'shape'$$);
	ALTER TABLE events ADD COLUMN note text DEFAULT 'plain';
	CREATE INDEX ON events (type)});
sell($node, 'postgres', 3000);
$node->safe_psql('postgres', q{SELECT evstore.append('entry-1', evstore.events('[{"type": "Made", "data": {}, "id": "8a9a63ac-3a5e-4d0a-a9bc-47d1b2a0c7a5", "tags": ["a", "b"]}, {"type": "Kept", "data": {}, "metadata": {"by": "me"}}]'), 0, 'app.journal')});
follows($node, 'postgres', 'in the source the projections follow');
is($node->safe_psql('postgres', q{SELECT bool_and(evstore.wait_for(p)) FROM unnest('{entries,spread,whole,both,shapes}'::text[]) p}), 't', 'in the source, of the second event table too');

# Hold the projections back while more is appended and the dump is taken.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE sales, ledger, app.entries, app.spread_state, app.whole, app.both, app.shapes IN SHARE MODE');
sell($node, 'postgres', 2000);
$node->safe_psql('postgres', q{SELECT evstore.append('entry-2', 'Kept', '{}', event_table => 'app.journal')});
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dump.sql", 'postgres' ], 'pg_dump, plain');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dump.archive", 'postgres' ], 'pg_dump, custom');
$node->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', "$dump.directory", 'postgres' ], 'pg_dump, parallel, to a directory');
$holder->query_safe('COMMIT');
$holder->quit;

my $events = q{
	SELECT md5(string_agg(e::text, E'\n' ORDER BY "position")) FROM events e;
	SELECT md5(string_agg(e::text, E'\n' ORDER BY "position")) FROM app.journal e};
my $definitions = q{
	SELECT name, kind, mode, owner, event_table, event_tables, state_table, read_table, definition, batch_size
	FROM evstore._projection ORDER BY name};
my %source = map { $_ => $node->safe_psql('postgres', $_) } ($events, $definitions);
my $highest = $node->safe_psql('postgres',
	'SELECT greatest((SELECT max("position") FROM events), (SELECT max("position") FROM app.journal))');

# The archive in two parts: the event table's rows and what is built on them, and the rest.
my @contents = split /\n/, qx{pg_restore -l $dump.archive};
my $of_events = qr/ (?:TABLE DATA|CONSTRAINT|INDEX|TRIGGER) public events/;
append_to_file("$dump.first", join "\n", grep { $_ !~ $of_events } @contents);
append_to_file("$dump.second", join "\n", grep { $_ =~ $of_events } @contents);

# A parallel restore fills the tables of the extension in any order: in the reverse of that in the archive.
my $of_extension = qr/ TABLE DATA evstore _/;
my @reversed = reverse grep { $_ =~ $of_extension } @contents;
append_to_file("$dump.reversed", join "\n", map { $_ =~ $of_extension ? shift @reversed : $_ } @contents);

# Somebody asks for the projection, and so a worker has tried to apply a batch:
# failed, or (as it should not) gone over it.
sub wait_for_attempt
{
	my ($db) = @_;
	eventually(
		$node, $db, q{
		SELECT evstore.wait_for('sales', timeout => '10 ms')
			OR (SELECT failures > 0 FROM evstore.projections WHERE name = 'sales')},
		"$db: workers try before the events are there");
}

my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql", '-d');
my @pg_restore = ('pg_restore', '-e', "$dump.archive", '-d');
my @ways = (
	[ psql => [ @psql, 'psql' ] ],
	[ single_transaction => [ @psql, 'single_transaction', '-1' ] ],
	[ pg_restore => [ @pg_restore, 'pg_restore', '-j2' ] ],
	[ directory => [ 'pg_restore', '-e', "$dump.directory", '-j2', '-d', 'directory' ] ],
	[   data_only => [ @pg_restore, 'data_only', '--schema-only' ],
		sub { process_pid($node, 'manager', 'data_only') },
		[ @pg_restore, 'data_only', '--data-only', '--single-transaction' ] ],
	[ reversed => [ @pg_restore, 'reversed', '-L', "$dump.reversed" ] ],
	[   in_two_parts => [ @pg_restore, 'in_two_parts', '-L', "$dump.first" ],
		\&wait_for_attempt,
		[ @pg_restore, 'in_two_parts', '-L', "$dump.second" ] ]);
for my $way (@ways)
{
	my ($db, @steps) = @$way;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	for my $step (@steps)
	{
		if (ref $step eq 'CODE')
		{
			$step->($db);
			next;
		}
		$node->command_ok($step, "$db: the dump is restored without an error");
	}
	is($node->safe_psql($db, $events), $source{$events},
		"$db: every event is back as it was, with its version, position and time");
	is($node->safe_psql($db, $definitions), $source{$definitions}, "$db: the projections are back");
	is($node->safe_psql($db, 'SELECT count(*) FROM evstore.read_events()'),
		'5000', "$db: before anything is appended, readers get every event");

	is($node->safe_psql($db, q{SELECT bool_and(evstore.wait_for(p)) FROM unnest('{sales,entries,spread,whole,both,shapes}'::text[]) p}),
		't', "$db: the query projections go on by themselves");
	is($node->safe_psql($db, q{SELECT name, (SELECT count(*) FROM ledger) FROM evstore.projections WHERE state = 'paused'}),
		'ledger|3000', "$db: the statement projection waits where it was");
	$node->safe_psql($db, q{SELECT evstore.resume_projection('ledger')});
	follows($node, $db, "$db: they catch up from where the dump found them");

	my $next = sell($node, $db, 1);
	cmp_ok($next, '>', $highest, "$db: new positions are above the old ones");
	is( $node->safe_psql($db, q{SELECT version FROM evstore.append('entry-1', 'Kept', '{}', event_table => 'app.journal')}),
		'3', "$db: versions go on");
	follows($node, $db, "$db: the projections go on");
	is( $node->safe_psql(
			$db, q{
			SELECT bool_and(evstore.wait_for(p)) FROM unnest('{entries,spread,whole,both,shapes}'::text[]) p;
			SELECT type, n, round(middle) FROM app.entries ORDER BY type;
			SELECT type, deviation, others FROM app.spread ORDER BY type;
			SELECT n, spread FROM app.whole;
			SELECT type, n FROM app.both ORDER BY type}),
		$node->safe_psql(
			$db, q{
			SELECT true;
			SELECT type, count(*), round(avg("position")) FROM app.journal GROUP BY type ORDER BY type;
			SELECT type, round(stddev(version), 3), count(*) - 1 FROM app.journal GROUP BY type ORDER BY type;
			SELECT count(*), variance(version) FROM app.journal;
			SELECT type, count(*) FROM (SELECT type FROM app.journal UNION ALL SELECT type FROM events) b GROUP BY type ORDER BY type}),
		"$db: also those of the second event table");

	is($node->safe_psql($db, q{SELECT shape, n FROM app.shapes ORDER BY shape;
			SELECT count(*) FROM evstore.read_events(types => '{Kept}', event_table => 'app.journal') WHERE data->>'shape' = '2'}),
		"2|3\n|1\n3", "$db: old events are read in their newest shape, by projections and functions");
	fails_with($node, $db, q{SELECT evstore.append('entry-1', 'Made', '1', event_table => 'app.journal')},
		'VE010', "$db: a function goes on checking what is appended");
	fails_with($node, $db, q{SELECT evstore.append('entry-1', 'Kept', '{"form": 1}', event_table => 'app.journal')},
		'VE010', "$db: so does a type");
	$node->safe_psql($db, q{
		CREATE FUNCTION app.kept_3(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT data || '{"shape": 3}'$$;
		SELECT evstore.create_upcaster('Kept', 2, 'app.kept_3', 'app.journal')});
	is($node->safe_psql($db, q{SELECT count(*) FROM evstore.read_stream('entry-2', event_table => 'app.journal') WHERE data->>'shape' = '3'}),
		'1', "$db: the chain goes on");

	fails_with($node, $db, 'DELETE FROM events', 'VE005', "$db: the table is still append-only");
	fails_with($node, $db, q{SELECT evstore.append('entry-1', 'Kept', '{}', expected_version => 1, event_table => 'app.journal')},
		'VE001', "$db: a stale version is still a conflict");
	is($node->safe_psql($db, q{SELECT has_table_privilege('clerk', 'events', 'INSERT'), count(*) FROM new_events}),
		't|0', "$db: privileges and the batch view are back");
}
follows($node, 'postgres', 'the source goes on');

done_testing();
