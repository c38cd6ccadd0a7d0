# The sizes that are promised: a stream of a million events, ten thousand events
# in a call, an event of 100 MB, ten thousand new streams in a transaction, names
# of two kilobytes, and 500 connections that append.  What must not grow with them is counted, not timed.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

# The lock table of a small server: default max_locks_per_transaction, few connections.
my $node = start_node('main', conf => q{
max_connections = 10
max_locks_per_transaction = 64
autovacuum = off
fsync = off
log_statement = none
max_wal_size = 2GB
});
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();
	-- so many events
	CREATE FUNCTION batch(n integer) RETURNS evstore.new_event[] LANGUAGE sql AS $$
		SELECT array_agg(ROW('Counted', to_jsonb(g), NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, n) g $$;
	-- how many pages a statement looks at, those of the functions in it included
	CREATE FUNCTION pages(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		plan json;
	BEGIN
		EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF, FORMAT json) ' || statement INTO plan;
		RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::bigint + (plan->0->'Plan'->>'Shared Read Blocks')::bigint;
	END $$});

# A session that has appended to and read the stream while it was short, often
# enough to keep a plan for it.
my $append = q{SELECT evstore.append('long', 'Counted', '{}')};
my @tail = (
	q{SELECT FROM evstore.read_stream('long', from_version => 999992, max_count => 10)},
	q{SELECT FROM evstore.read_stream('long', max_count => 10, backwards => true)});
my $early = $node->background_psql('postgres');
$early->query_safe("SELECT max(pages('$_')) FROM generate_series(1, 10)") for map { s/'/''/gr } $append, @tail;

# A million events in one stream, ten thousand a call.
is($node->safe_psql('postgres', q{
	SELECT min(version), max(version), bool_and("position" = first + 10000 - 1) FROM (
		SELECT version, "position", lag("position", 1, "position" - 10000) OVER (ORDER BY version) + 1 AS first
		FROM generate_series(1, 100) g, LATERAL evstore.append('long', batch(10000 * sign(g)::integer)) a) calls}),
	'10010|1000010|t', 'a million events go into a stream, ten thousand a call');
is($node->safe_psql('postgres', q{
	SELECT count(*), count(DISTINCT version), max(version), max("position") - min("position") + 1 FROM events WHERE stream = 'long'}),
	'1000010|1000010|1000010|1000010', 'without holes');
my $late = $node->background_psql('postgres');
for my $session ([ 'a session from before', $early ], [ 'a new session', $late ])
{
	my ($name, $psql) = @$session;

	for my $statement ($append, @tail)
	{
		(my $quoted = $statement) =~ s/'/''/g;
		$psql->query_safe("SELECT pages('$quoted')");
		my $pages = $psql->query_safe("SELECT pages('$quoted')");
		cmp_ok($pages, '<', 50, "$name, of a million events: $statement");
	}
	is($psql->query_safe("SELECT count(*), max(version) = evstore.stream_version('long') FROM evstore.read_stream('long', max_count => 10, backwards => true)"),
		'10|t', "$name reads the tail");
}
$early->quit;
$late->quit;

# A long stream that statistics know nothing of: its tail is still a few pages.
$node->safe_psql('postgres', q{SELECT evstore.create_event_table('fresh'); SELECT evstore.append('one', batch(10000), event_table => 'fresh')});
for my $tail (
	q{SELECT FROM evstore.read_stream('one', max_count => 10, backwards => true, event_table => 'fresh')},
	q{SELECT FROM evstore.read_stream('one', from_version => 9990, event_table => 'fresh')},
	q{SELECT evstore.stream_version('one', event_table => 'fresh')})
{
	(my $quoted = $tail) =~ s/'/''/g;
	my $pages = $node->safe_psql('postgres', "SELECT FROM pages('$quoted'); SELECT pages('$quoted')");
	cmp_ok($pages =~ s/^\s+//r, '<', 50, "without statistics: $tail");
}

# Ten thousand events a call through the executor's INSERT.
$node->safe_psql('postgres', q{SELECT evstore.create_event_table('checked'); ALTER TABLE checked ADD CHECK (type <> '')});
is($node->safe_psql('postgres', q{
	SELECT version FROM evstore.append('long', batch(10000), 0, 'checked');
	SELECT count(*), min(version), max(version), max("position") - min("position") + 1, count(DISTINCT data) FROM checked}),
	"10000\n10000|1|10000|10000|10000", 'ten thousand events a call go through a CHECK constraint');

# An event of 100 MB, stored as it is: to compress it would only take time.
is($node->safe_psql('postgres', q{
	SELECT evstore.create_event_table('films');
	ALTER TABLE films ALTER data SET STORAGE EXTERNAL;
	CREATE TEMP TABLE film (film jsonb);
	ALTER TABLE film ALTER film SET STORAGE EXTERNAL;
	INSERT INTO film SELECT to_jsonb(repeat(string_agg(md5(g::text), ''), 1024)) FROM generate_series(1, 100 * 32) g;
	SELECT version FROM film, LATERAL evstore.append('film-1', 'Shot', film, event_table => 'films');
	SELECT pg_column_size(data) >= 100 * 1024 * 1024, data = film FROM film, LATERAL evstore.read_stream('film-1', event_table => 'films')}),
	"films\n1\nt|t", 'an event of 100 MB comes back as it was');

# Ten thousand new streams in one transaction.
my $locks = 'SELECT count(*) < 1100 FROM pg_locks WHERE pid = pg_backend_pid()';
is($node->safe_psql('postgres', qq{
	BEGIN;
	SELECT count(*), max(version) FROM generate_series(1, 10000) g, LATERAL evstore.append('appended-' || g, 'Counted', '{}', expected_version => 0) a;
	$locks;
	COMMIT}),
	"10000|1\nt", 'ten thousand new streams by append, with a bounded number of locks');
my $rows = join '', map { "copied-$_\tCounted\t{}\n" } 1 .. 10000;
is($node->safe_psql('postgres', qq{
	BEGIN;
	COPY events (stream, type, data) FROM stdin;
$rows\\.
	$locks;
	INSERT INTO events (stream, type, data) SELECT 'inserted-' || g, 'Counted', '{}' FROM generate_series(1, 10000) g;
	$locks;
	COMMIT}),
	"t\nt", 'ten thousand new streams by COPY, and as many by INSERT, with a bounded number of locks');
is($node->safe_psql('postgres', q{
	SELECT split_part(stream, '-', 1) AS category, count(*), count(DISTINCT stream), max(version)
	FROM events WHERE stream ~ '^(appended|copied|inserted)-' GROUP BY category ORDER BY category}),
	"appended|10000|10000|1\ncopied|10000|10000|1\ninserted|10000|10000|1", 'each stream with its event');

# Names of streams by COPY (test/sql/long_names has the other ways in).
my $named = sub { "COPY events (stream, type, data) FROM stdin;\ncopied-1\tCounted\t{}\n" . ('n' x $_[0]) . "\tCounted\t{}\n\\.\n" };
fails_with($node, 'postgres', $named->(2049), '54000', 'COPY refuses a name of 2049 bytes', qr/2049 bytes; 2048 are allowed/);
is($node->safe_psql('postgres', $named->(2048) . q{SELECT evstore.stream_version(repeat('n', 2048)), evstore.stream_version('copied-1')}),
	'1|2', 'and takes one of 2048');

# 500 connections, two transactions each, in 50 streams.
$node->adjust_conf('postgresql.conf', 'max_connections', 510);
$node->restart;
$node->safe_psql('postgres', q{SELECT evstore.create_event_table('crowded')});
my $script = "$PostgreSQL::Test::Utils::tmp_check/append.sql";
append_to_file($script, "SELECT evstore.append('order-' || :client_id % 50, 'Counted', '{}', event_table => 'crowded');\n");
command_ok([ 'pgbench', '-n', '-c', 500, '-j', 2, '-t', 2, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'500 connections append');
is($node->safe_psql('postgres', q{
	SELECT count(*), count(DISTINCT "position"), max("position") - min("position") + 1, count(DISTINCT (stream, version)) FROM crowded}),
	'1000|1000|1000|1000', 'every event has a position of its own, and none is left out');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM (SELECT FROM crowded GROUP BY stream HAVING count(*) = 20 AND min(version) = 1 AND max(version) = 20) s}),
	'50', 'the versions of each stream have no holes');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM (SELECT version, row_number() OVER (PARTITION BY stream ORDER BY "position") AS n FROM crowded) c WHERE version <> n}),
	'0', 'and rise with the positions');
is($node->safe_psql('postgres', q{SELECT count(*) FROM evstore.read_events(event_table => 'crowded'); SELECT count(*) FROM evstore.appenders}),
	"1000\n0", 'nobody holds the safe position back');

done_testing();
