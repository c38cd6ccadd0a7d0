# A COPY that takes its time holds up nobody but who wants to add to the same
# streams, says how far it is, needs no memory for its length, and leaves nothing
# behind when it is cancelled.  Libraries that listen to statements hear of it.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'needs /proc' unless -r "/proc/$$/status";

my $node = start_node('main', conf => "log_statement = none\nmax_wal_size = 4GB\nshared_buffers = 16MB");
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION evstore;
	DO $$ BEGIN PERFORM evstore.create_event_table(); END $$;
	SET evstore.event_table = events;
	SELECT version FROM evstore.append('slow-1', 'Step', '{}')});

# A pipe that a COPY reads until we close it.
my $fifo = PostgreSQL::Test::Utils::tempdir() . '/rows';
mkfifo($fifo, 0600) or die "could not make $fifo: $!\n";

# Start a COPY from the pipe, write rows over so many streams to it, whose names may have more, and wait until it has
# taken most of them.
sub start_copy
{
	my ($session, $streams, $rows, $more) = @_;
	$session->query_until(qr/copying/, "\\echo copying\nCOPY events (stream, type, data) FROM '$fifo';\n");
	# One that failed would never open its end.
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_progress_copy WHERE relid = 'events'::regclass")
	  or die "no COPY came\n";
	open(my $pipe, '>', $fifo) or die "could not open $fifo: $!\n";
	$pipe->autoflush;
	print $pipe 'slow-' . $_ % $streams . ($more // '') . "\tStep\t{\"fill\": \"" . 'x' x 200 . "\"}\n" for 1 .. $rows;
	eventually($node, 'postgres', "SELECT tuples_processed > $rows / 2 FROM pg_stat_progress_copy WHERE relid = 'events'::regclass",
		"pg_stat_progress_copy tells how far the COPY is");
	return $pipe;
}

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $pipe = start_copy($session, 5000, 20000);

is($node->safe_psql('postgres', qq{
	SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 229 AND mode = 'ExclusiveLock' AND pid = $pid}),
	'0', 'a COPY that waits for rows keeps no lock of a stream');
# Five thousand streams have every one of the 1,024 stripes among them.
is($node->safe_psql('postgres', q{
	SET lock_timeout = '10s';
	SELECT count(*) FROM generate_series(1, 50) g, LATERAL evstore.append('other-' || g, 'Step', '{}')}),
	'50', 'who appends to other streams does not wait');
fails_with($node, 'postgres', q{SET lock_timeout = '100ms'; SELECT evstore.append('slow-1', 'Step', '{}')},
	'55P03', 'who appends to one of its streams does');
close $pipe;
$session->query_safe('SELECT 1');
is($node->safe_psql('postgres', q{
	SELECT count(*), bool_and(version = rank), count(*) FILTER (WHERE stream = 'slow-1')
	FROM (SELECT stream, version, rank() OVER (PARTITION BY stream ORDER BY position) FROM events) e}),
	'20051|t|5', 'every row is there, each stream in order');

$pipe = start_copy($session, 5000, 20000);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
# It hears of it with the next rows.
local $SIG{PIPE} = 'IGNORE';
print $pipe "slow-1\tStep\t{}\n" for 1 .. 20000;
close $pipe;
is($session->query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()}),
	'0', 'one that was cancelled holds no lock');
is($node->safe_psql('postgres', q{
	SET lock_timeout = '10s';
	SELECT version FROM evstore.append('slow-1', 'Step', '{}')}),
	'6', 'and has left nothing behind');

# The most memory that the session has had, in kB, shared memory included.
sub peak
{
	return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : die 'no VmHWM';
}

my $before = peak();
$pipe = start_copy($session, 100000, 120000, 'x' x 200);
close $pipe;
$session->query('SELECT 1');
cmp_ok(peak() - $before, '<', 16 * 1024, 'a hundred thousand rows need no memory, nor do their streams');
is($node->safe_psql('postgres', q{SELECT count(*) FROM events}), '140052', 'and are there');
$session->quit;

SKIP:
{
	skip 'pg_stat_statements is not installed', 4
	  unless -f $node->config_data('--pkglibdir') . '/pg_stat_statements.so';

	for my $order ('evstore, pg_stat_statements', 'pg_stat_statements, evstore')
	{
		$node->append_conf('postgresql.conf', "shared_preload_libraries = '$order'");
		$node->restart;
		$node->safe_psql(
			'postgres', q{
			CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
			SELECT pg_stat_statements_reset();
			COPY events (stream, type, data) FROM PROGRAM 'printf "seen-1 Step 1\nseen-1 Step 2\n"' (DELIMITER ' ')});
		is($node->safe_psql('postgres', q{
			SELECT calls, rows FROM pg_stat_statements WHERE query LIKE 'COPY events%'}),
			'1|2', "$order: pg_stat_statements sees the COPY");
		is($node->safe_psql('postgres', q{
			SELECT bool_and(version = rank) AND max(version) % 2 = 0
			FROM (SELECT version, rank() OVER (ORDER BY position) FROM events WHERE stream = 'seen-1') e}),
			't', "$order: and its rows are in order");
	}
}

done_testing();
