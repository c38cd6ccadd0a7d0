# With evstore.read_your_writes, no read of a read table after an append of the
# same session is stale: several sessions at once, in each protocol that pgbench
# speaks, through tables, views and functions.  And what it does on a server
# whose projections do not move.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 6;
my $transactions = 100;

my $node = start_node('main', conf => "max_worker_processes = 16\nevstore.workers = 2");
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();
	SELECT evstore.create_projection('by_stream',
		query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream');
	CREATE TABLE log (stream text, version bigint);
	CREATE INDEX ON log (stream, version);
	SELECT evstore.create_projection('log', read_table => 'log',
		statement => 'INSERT INTO log SELECT stream, version FROM new_events');
	CREATE VIEW seen AS SELECT stream, max(version) AS last FROM log GROUP BY stream;
	CREATE FUNCTION last_of(text) RETURNS bigint LANGUAGE plpgsql STABLE AS
		$$ BEGIN RETURN (SELECT last FROM seen WHERE stream = $1); END $$;});

# What is stale divides by zero, and a client that gets an error gives up.
my $script = PostgreSQL::Test::Utils::tempdir . '/script.sql';
append_to_file($script, q{
	\set stream random(1, 3) + 10 * :client_id
	SELECT version AS v FROM evstore.append('s-' || :stream, 'Step', '{}') \gset
	SELECT 1 / (SELECT count(*) FROM by_stream WHERE stream = 's-' || :stream AND events = :v);
	SELECT version AS v FROM evstore.append('s-' || :stream, 'Step', '{}') \gset
	SELECT 1 / (SELECT count(*) FROM seen WHERE stream = 's-' || :stream AND last = :v);
	SELECT version AS v FROM evstore.append('s-' || :stream, 'Step', '{}') \gset
	SELECT 1 / (last_of('s-' || :stream) = :v)::integer;
} =~ s/^\t//gmr);

# Run the script; how many transactions went through.
sub run_script
{
	my ($mode, $setting, $length) = @_;
	local $ENV{PGOPTIONS} = "-c evstore.read_your_writes=$setting";
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pgbench', '-n', '-M', $mode, '-c', $clients, '-t', $length, '-f', $script,
			'-h', $node->host, '-p', $node->port, 'postgres' ], '>', \$out, '2>', \$err);
	my ($done) = $out =~ m{actually processed: (\d+)/};
	diag $err if $setting eq 'on' && ($done // 0) != $clients * $length;
	return $done // 0;
}

# The test can fail: without the setting some read is stale.
cmp_ok(run_script('simple', 'off', $transactions), '<', $clients * $transactions, 'off: some read is stale');
is(run_script($_, 'on', $transactions), $clients * $transactions, "on, $_ protocol: none is")
  for qw(simple extended prepared);

# Settings of databases and roles do not concern the workers.
$node->safe_psql('postgres', 'ALTER SYSTEM SET evstore.read_your_writes = on; SELECT pg_reload_conf()');
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION relay(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		IF e.type = 'Step' AND (SELECT events FROM by_stream WHERE stream = e.stream) > 0 THEN
			PERFORM evstore.append('relayed', 'Relayed', '{}');
		END IF;
	END $$;});
eventually($node, 'postgres', 'SHOW evstore.read_your_writes', 'on for all', 'on');
$node->restart;
$node->safe_psql('postgres', q{SELECT evstore.create_projection('relay', handler => 'relay(evstore.event)')});
is($node->safe_psql('postgres', q{
	SELECT evstore.wait_for_all();
	SELECT count(*) FROM events e WHERE e.type = 'Step';}),
	"t\n" . $node->safe_psql('postgres', q{
	SELECT count(*) FROM events e WHERE e.type = 'Relayed'}), 'a handler that reads and appends waits for nobody');

# An open transaction that has appended holds back what others have appended after it.
my $other = $node->background_psql('postgres');
$other->query_safe('BEGIN');
$other->query_safe(q{SELECT evstore.append('held', 'Step', '{}')});
fails_with($node, 'postgres', q{
	SET evstore.read_your_writes_timeout = '50ms';
	SELECT evstore.append('behind', 'Step', '{}');
	SELECT count(*) FROM by_stream;}, 'VE006', 'what is held back is not waited for without end', qr/evstore\.appenders/);
$other->query_safe('COMMIT');
is($node->safe_psql('postgres', q{
	DO $$ BEGIN PERFORM evstore.append('behind', 'Step', '{}'); END $$;
	SELECT events FROM by_stream WHERE stream = 'behind';}), '2', 'let go, it comes');
$other->quit;

done_testing();
