# Five hundred projections in one database with four workers: under appends all keep
# up, and none is left behind the others; idle, nobody works or wakes.  And a read
# table that is updated all the time stays small.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

plan skip_all => 'needs /proc' unless -r "/proc/$$/status";

my $projections = 500;
my $watched = 3;    # seconds

my $node = start_node('main', conf => "autovacuum = off\nmax_worker_processes = 16\nevstore.workers = 4\nlog_statement = none");
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql(
	'shop', qq{
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();
	SELECT evstore.create_projection('p' || g, query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream')
	FROM generate_series(1, $projections) g;});
eventually($node, 'shop', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'evstore worker' AND datname = 'shop'},
	'four workers', '4');

# Append with two clients, so many transactions each, at a rate that a slow machine bears, too.
sub append
{
	my ($times, $rate, $db) = @_;
	my $script = PostgreSQL::Test::Utils::tempdir . '/append.sql';
	append_to_file($script, "\\set s random(1, 20)\nSELECT evstore.append('s-' || :s, 'Step', '{}');\n");
	return system_log('pgbench', '-n', '-c', 2, '-t', $times, '-R', $rate, '-f', $script,
		'-h', $node->host, '-p', $node->port, $db) == 0;
}

# The first batches build what each worker keeps of each projection.
$node->safe_psql('shop', q{DO $$ BEGIN PERFORM evstore.append('s-1', 'Step', '{}'); END $$; SELECT evstore.wait_for_all()});
ok(append(300, 100, 'shop'), 'appends go through');
is($node->safe_psql('shop', q{SELECT evstore.wait_for_all()}), 't', 'all have come to the end');
is($node->safe_psql('shop', q{
	DO $$
	DECLARE
		p name;
		differ boolean;
	BEGIN
		FOR p IN SELECT name FROM evstore.projections LOOP
			EXECUTE format('SELECT EXISTS ((TABLE %1$I EXCEPT TABLE truth) UNION ALL (TABLE truth EXCEPT TABLE %1$I))', p) INTO differ;
			IF differ THEN
				RAISE EXCEPTION 'projection % differs', p;
			END IF;
		END LOOP;
	END $$;
	SELECT count(*), count(*) FILTER (WHERE state = 'live' AND lag_events = 0) FROM evstore.projections;} =~
	s/DO \$\$/CREATE TABLE truth AS SELECT stream, count(*) AS n FROM events GROUP BY stream;\nDO \$\$/r),
	"$projections|$projections", 'each is what its query says, and live');
my ($least, $most) = split /\|/, $node->safe_psql('shop', 'SELECT min(batches), max(batches) FROM evstore.projection_stats');
note "batches of a projection: $least to $most";
cmp_ok($most, '<=', 2 * $least + 2, 'each had its turns');

# How often each process of evstore has gone to sleep.
sub sleeps
{
	return { map { my ($pid, $name) = split /\|/; $name => slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m }
		  split /\n/, $node->safe_psql('postgres', q{SELECT pid, backend_type || ' ' || pid FROM pg_stat_activity WHERE backend_type LIKE 'evstore %'}) };
}

# Transactions that ended in the database, asked for from another one.
sub transactions
{
	return $node->safe_psql('postgres',
		q{SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'shop'});
}

eventually(
	$node, 'postgres', q{
	SELECT count(*) FROM pg_stat_activity
	WHERE datname = 'shop' AND (backend_type = 'client backend' OR state = 'active')},
	'nobody is at work', '0');
my @before = (transactions(), sleeps());
sleep $watched;
my @after = (transactions(), sleeps());
is($after[0], $before[0], 'idle: no transaction ran in the database');
# The server itself may wake each of them once, to take in what has changed in catalogs.
for my $process (sort keys %{ $after[1] })
{
	cmp_ok($after[1]{$process} - ($before[1]{$process} // 0), '<=', 1, $process =~ s/ \d+/ sleeps/r);
}

# A hot read table, with vacuum as anywhere.
$node->safe_psql('postgres', q{CREATE DATABASE hot});
$node->append_conf('postgresql.conf', "autovacuum = on\nautovacuum_naptime = 1s");
$node->reload;
$node->safe_psql(
	'hot', q{
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();
	SELECT evstore.create_projection('by_type', query => 'SELECT type, count(*) AS n, max("position") AS last FROM events GROUP BY type');
	CREATE TABLE one (id integer PRIMARY KEY, n bigint) WITH (fillfactor = 50);
	INSERT INTO one VALUES (1, 0);
	CREATE FUNCTION bump(e evstore.event) RETURNS void LANGUAGE sql AS 'UPDATE one SET n = n + 1 WHERE id = 1';
	SELECT evstore.create_projection('one', read_table => 'one', handler => 'bump(evstore.event)');});
ok(append(3000, 1500, 'hot'), 'six thousand events one by one');
is($node->safe_psql('hot', 'SELECT evstore.wait_for_all(); SELECT n FROM one; SELECT n FROM by_type'), "t\n6000\n6000", 'both have them');
eventually($node, 'hot', q{SELECT n_tup_upd >= 6000 FROM pg_stat_all_tables WHERE relid = 'one'::regclass}, 'the updates are counted', 't');
is($node->safe_psql('hot', q{
	SELECT relname FROM pg_stat_all_tables
	WHERE relname IN ('one', 'by_type', '_checkpoint') AND (n_tup_hot_upd < 0.9 * n_tup_upd OR pg_table_size(relid) > 1000000)}),
	'', 'nearly all updates were HOT, and the tables are small');

done_testing();
