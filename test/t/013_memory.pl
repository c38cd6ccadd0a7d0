# Reading streams: 300,000 events pass through a session, and through a worker,
# without its memory growing with them.  Nor does it grow with the number of
# appends, when they are by turns those of a role that policies bind, and so go
# another way into the table, and those of one that they do not bind.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'needs /proc' unless -r "/proc/$$/status";

my $limit = 64 * 1024;    # kB

# Few shared buffers, since what a process has touched of them counts as its own.
my $node = start_node('main', conf => q{
shared_buffers = 16MB
log_statement = none
max_wal_size = 4GB
});
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();
	SELECT evstore.append('long', (
		SELECT array_agg(ROW('Added', jsonb_build_object('n', g, 'text', repeat('x', 400)), NULL, NULL, NULL, NULL)::evstore.new_event)
		FROM generate_series(1, 1000) g))
	FROM generate_series(1, 300)});

# The most memory that a process has had, in kB.
sub peak
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : die 'no VmHWM';
}

my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my %reads = (
	read_stream => q{evstore.read_stream('long')},
	read_events => q{evstore.read_events()});

$session->query_safe("SELECT count(*) FROM (SELECT $_ LIMIT 10) e") for values %reads;
for my $read (sort keys %reads)
{
	my $before = peak($pid);

	is($session->query_safe("SELECT count(*) FROM (SELECT $reads{$read} OFFSET 0) e"),
		'300000', "$read gives every event");
	cmp_ok(peak($pid) - $before, '<', $limit, "$read needs no memory for it");
}
$session->quit;

$node->safe_psql('postgres',
	q{SELECT evstore.create_projection('added', query => 'SELECT type, count(*) AS n FROM events GROUP BY type')});
my $worker = process_pid($node, 'worker');
my $before = peak($worker);
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('added', timeout => '2 minutes'); SELECT n FROM added}),
	"t\n300000", 'a worker applies every event');
cmp_ok(peak($worker) - $before, '<', $limit, 'and needs no memory for it');

# One state is kept for each way into the table, whoever takes turns.
$node->safe_psql(
	'postgres', q{
	CREATE ROLE bound;
	SELECT evstore.create_event_table('guarded');
	ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
	CREATE POLICY appends ON guarded FOR INSERT TO bound WITH CHECK (stream LIKE 'mine-%');
	GRANT INSERT ON guarded TO bound});
my $turn = q{
	SET ROLE bound;
	SELECT FROM evstore.append('mine-1', 'Added', '{}', event_table => 'guarded');
	RESET ROLE;
	SELECT FROM evstore.append('mine-2', 'Added', '{}', event_table => 'guarded');
};
my $states = q{SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'evstore writer'};
is($node->safe_psql('postgres', ($turn x 100) . $states),
	'2', 'a session that appends by turns under policies and without keeps one state for each');
is($node->safe_psql('postgres', q{SELECT stream, count(*), max(version) FROM guarded GROUP BY stream ORDER BY stream}),
	"mine-1|100|100\nmine-2|100|100", 'and appends every event');

done_testing();
