# An idle server with a hundred projections runs no query and sleeps.  This is
# the one test that watches for a while: nothing happening is no condition to
# wait for.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

plan skip_all => 'needs /proc' unless -r "/proc/$$/status";

my $watched = 3;    # seconds

my $node = start_node('main', conf => "autovacuum = off\nlog_statement = none");
$node->safe_psql('postgres', 'CREATE DATABASE shop');
make_store($node, 'shop');
$node->safe_psql(
	'shop', q{
	SELECT evstore.create_projection('copy_' || g, query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream')
	FROM generate_series(1, 98) g});
sell($node, 'shop', 10);
follows($node, 'shop', 'the projections follow');
eventually($node, 'shop', q{SELECT count(*) FROM evstore.projections WHERE state = 'live' AND lag_events = 0},
	'a hundred projections are live', '100');

# Transactions that ended in the database, asked for from another one.
sub transactions
{
	return $node->safe_psql('postgres',
		q{SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'shop'});
}

# How often the processes of evstore have gone to sleep, by pid.
sub sleeps
{
	my $pids = $node->safe_psql('postgres',
		q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'evstore %'});
	return map { $_ => slurp_file("/proc/$_/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m } split /\n/, $pids;
}

# A session has reported its transactions when it is gone, a worker when it is idle.
eventually(
	$node, 'postgres', q{
	SELECT count(*) FROM pg_stat_activity
	WHERE datname = 'shop' AND (backend_type = 'client backend' OR state = 'active')},
	'nobody is at work', '0');
my $before = transactions();
my %before = sleeps();
sleep $watched;
my %after = sleeps();
my $after = transactions();

is($after, $before, 'no transaction ran in the database');
is(join(' ', sort keys %after), join(' ', sort keys %before), 'no process came or went');
my ($most) = sort { $b <=> $a } map { $after{$_} - $before{$_} } keys %before;
cmp_ok($most, '<=', 2 * $watched, 'no process woke up more than now and then');

sell($node, 'shop', 10);
follows($node, 'shop', 'an append wakes them');

done_testing();
