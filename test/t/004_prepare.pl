# PREPARE TRANSACTION after an append.  Nobody knows how such a transaction will
# end, not even across crashes, so the mark stays below its first position until
# COMMIT PREPARED or ROLLBACK PREPARED, in whatever session and after whatever
# has happened to the server meanwhile.  Then readers and projections get its
# events, once, or go past them.
#
# What has changed the extension or the projections is refused as a whole:
# evstore's processes could not be told of it at the commit.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = start_node('main', streaming => 1, conf => q{
max_prepared_transactions = 12
max_connections = 40
max_worker_processes = 30
log_statement = none
});
make_store($node, 'postgres');
$node->safe_psql('postgres', 'CREATE TABLE note (line text)');
sell($node, 'postgres', 5);

# Append an event in a transaction that is prepared under this name; its position.
sub prepare
{
	my ($node, $db, $name, $stream) = @_;
	$stream ||= $name;
	return $node->safe_psql(
		$db, qq{
		BEGIN;
		SELECT "position" FROM evstore.append('$stream', 'Sold', '{"region": "prepared", "amount": 100}');
		PREPARE TRANSACTION '$name'});
}

# The safe position.
sub mark
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, 'SELECT evstore._safe_position()');
}

# A position stands above the mark, whatever others append, and neither readers
# nor projections go on to it.
sub holds
{
	my ($node, $db, $position, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(mark($node, $db), $position - 1, "$test_name: the mark stays below, before anybody appends");
	my $later = sell($node, $db, 20);
	cmp_ok($later, '>', $position, "$test_name: others append beyond it");
	is(mark($node, $db), $position - 1, "$test_name: the mark stays below");
	is($node->safe_psql($db, qq{SELECT count(*) FROM evstore.read_events($position - 1)}),
		'0', "$test_name: readers are given nothing beyond the mark");
	is( $node->safe_psql($db, qq{
			SELECT evstore.wait_for('sales', $position - 1) AND evstore.wait_for('ledger', $position - 1);
			SELECT bool_and("position" < $position) FROM evstore.projections}),
		"t\nt", "$test_name: projections follow up to the mark");
	return;
}

# Nothing is prepared any more, and everything that is committed has arrived.
sub is_free
{
	my ($node, $db, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($node->safe_psql($db, 'SELECT count(*) FROM evstore.appenders'), '0', "$test_name: nobody holds the mark");
	follows($node, $db, "$test_name: the projections follow");
	is($node->safe_psql($db, 'SELECT count(*) = (SELECT count(*) FROM events) FROM evstore.read_events()'),
		't', "$test_name: readers get every event");
	return;
}

# Run this while all workers of the database sleep. The projections are there
# long before a worker would look by itself, though nobody asks for them (as
# wait_for does) or appends.
sub wakes
{
	my ($node, $db, $sql, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	process_pid($node, 'worker', $db);
	$node->poll_query_until('postgres', qq{
		SELECT bool_and(wait_event_type = 'Extension') FROM pg_stat_activity
		WHERE backend_type = 'evstore worker' AND datname = '$db'});
	is( scalar $node->psql(
			$db, qq{
			$sql;
			SET statement_timeout = '20s';
			DO \$\$ BEGIN
				WHILE EXISTS (SELECT FROM evstore.projections WHERE lag_events > 0) LOOP
					PERFORM pg_sleep(0.02);
				END LOOP;
			END \$\$}),
		0, $test_name);
	return;
}

# COMMIT PREPARED in another session, ROLLBACK PREPARED; nobody else appends.
for my $end ('COMMIT', 'ROLLBACK')
{
	my $position = prepare($node, 'postgres', 'one');

	holds($node, 'postgres', $position, "$end PREPARED");
	is( $node->safe_psql('postgres', q{
			SELECT pid IS NULL, lowest_position, since BETWEEN now() - interval '1 hour' AND now(), prepared
			FROM evstore.appenders}),
		"t|$position|t|one", "$end PREPARED: the view shows who holds the mark");
	wakes($node, 'postgres', "$end PREPARED 'one'", "$end PREPARED wakes a worker");
	is_free($node, 'postgres', "$end PREPARED");
	is($node->safe_psql('postgres', qq{SELECT count(*) FROM events WHERE "position" = $position}),
		$end eq 'COMMIT' ? '1' : '0', "$end PREPARED: its event is there or not");
}

# Streams: the next writer waits for the prepared one, writers of others do not.
my %append = (
	'append' => q{SELECT evstore.append('%s', 'Sold', '{"region": "x", "amount": 1}')},
	'INSERT' => q{INSERT INTO events (stream, type, data) VALUES ('%s', 'Sold', '{"region": "x", "amount": 1}')},
	'COPY' => qq{COPY events (stream, type, data) FROM STDIN;\n%s\tSold\t{"region": "x", "amount": 1}\n\\.\n},
	'append in a savepoint' =>
	  q{SAVEPOINT one; SELECT evstore.append('%s', 'Sold', '{"region": "x", "amount": 1}'); RELEASE SAVEPOINT one});
for my $how (sort keys %append)
{
	(my $stream = "by $how") =~ tr/ /-/;
	my $sql = sprintf $append{$how}, $stream;
	my $other = $node->background_psql('postgres');

	$node->safe_psql('postgres', "BEGIN; $sql; PREPARE TRANSACTION 'stream'");
	$other->query_until(qr/waiting/, qq{\\echo waiting
		SELECT 'version ' || version FROM evstore.append('$stream', 'Sold', '{"region": "y", "amount": 2}');\n});
	eventually($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'},
		"$how: the next writer of the stream waits", '1');
	sell($node, 'postgres', 10);
	$node->safe_psql('postgres', q{COMMIT PREPARED 'stream'});
	$other->query_until(qr/version 2\n/, '');
	$other->quit;
	is_free($node, 'postgres', $how);
}

# A PREPARE that fails, at whatever point, leaves nothing.
my $event = q{SELECT evstore.append('refused', 'Sold', '{"region": "x", "amount": 1}')};
prepare($node, 'postgres', 'taken');
my %refused = (
	'a temporary table' => [ 'CREATE TEMP TABLE t ()', 'new', '0A000' ],
	'a name that is taken' => [ 'SELECT 1', 'taken', '42710' ],
	'NOTIFY' => [ 'NOTIFY somebody', 'new', '0A000' ]);
for my $what (sort keys %refused)
{
	my ($sql, $name, $sqlstate) = @{ $refused{$what} };

	fails_with($node, 'postgres', "BEGIN; INSERT INTO note VALUES ('x'); $event; $sql; PREPARE TRANSACTION '$name'",
		$sqlstate, "$what: PREPARE TRANSACTION fails");
	is( $node->safe_psql('postgres', q{
			SELECT (SELECT count(*) FROM note), (SELECT count(*) FROM events WHERE stream = 'refused'),
				(SELECT count(*) FROM evstore.appenders)}),
		'0|0|1', "$what: nothing is left of it");
}
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'taken'});
is_free($node, 'postgres', 'after failures');
my $last = sell($node, 'postgres', 1);
is(mark($node, 'postgres'), $last, 'after failures: the mark is at the last event');

# Failures fill no room that others need.
fails_with($node, 'postgres', "BEGIN; $event; CREATE TEMP TABLE t (); PREPARE TRANSACTION 'never'",
	'0A000', 'one more failure') for 1 .. 13;
my @names = map { "many $_" } 1 .. 12;
my @positions = map { prepare($node, 'postgres', $_) } @names;
fails_with($node, 'postgres', "BEGIN; $event; PREPARE TRANSACTION 'too many'", '53200',
	'one more than max_prepared_transactions is refused', qr/max_prepared_transactions/);
while (@names)
{
	is(mark($node, 'postgres'), $positions[0] - 1, scalar(@names) . ' prepared: the first of them holds the mark');
	# The first, the last, the first ...
	my $first = @names % 2;
	$node->safe_psql('postgres', sprintf q{%s PREPARED '%s'},
		@names % 3 ? 'COMMIT' : 'ROLLBACK', $first ? shift @names : pop @names);
	$first ? shift @positions : pop @positions;
}
is_free($node, 'postgres', 'all of many finished');

# Two databases, each with its own, through the ways a server can go down.
$node->safe_psql('postgres', 'CREATE DATABASE second');
make_store($node, 'second');
my %down = (
	'a kill -9' => sub { kill_server($node); $node->start },
	'an immediate stop' => sub { $node->stop('immediate'); $node->start },
	'a restart' => sub { $node->restart },
	'a checkpoint and a kill -9' => sub { $node->safe_psql('postgres', 'CHECKPOINT'); kill_server($node); $node->start });
for my $how (sort keys %down)
{
	sell($node, $_, 10) for 'postgres', 'second';
	my %first = map { $_ => prepare($node, $_, "first in $_") } 'postgres', 'second';
	sell($node, $_, 3) for 'postgres', 'second';
	my $next = prepare($node, 'postgres', 'next in postgres', 'next');
	my $inserted = $node->safe_psql('postgres', q{
		BEGIN;
		INSERT INTO events (stream, type, data) VALUES ('inserted', 'Sold', '{"region": "x", "amount": 7}') RETURNING "position";
		PREPARE TRANSACTION 'inserted'});

	$down{$how}->();
	holds($node, $_, $first{$_}, "after $how, $_") for 'postgres', 'second';
	is( $node->safe_psql('postgres', 'SELECT prepared, lowest_position, since IS NOT NULL FROM evstore.appenders ORDER BY 2'),
		"first in postgres|$first{postgres}|t\nnext in postgres|$next|t\ninserted|$inserted|t", "after $how: the view shows them");
	my $new = prepare($node, 'postgres', 'since then');

	wakes($node, 'second', q{COMMIT PREPARED 'first in second'}, "after $how: COMMIT PREPARED wakes a worker");
	is_free($node, 'second', "after $how, second");
	is(mark($node, 'postgres'), $first{postgres} - 1, "after $how: what another database finishes does not matter");

	$node->safe_psql('postgres', q{ROLLBACK PREPARED 'first in postgres'});
	is(mark($node, 'postgres'), $next - 1, "after $how: the next one holds the mark");
	$node->safe_psql('postgres', q{COMMIT PREPARED 'inserted'});
	is(mark($node, 'postgres'), $next - 1, "after $how: a later one that ends does not move it");
	$node->safe_psql('postgres', q{COMMIT PREPARED 'next in postgres'});
	is(mark($node, 'postgres'), $new - 1, "after $how: then one that was prepared since");
	$node->safe_psql('postgres', q{COMMIT PREPARED 'since then'});
	is_free($node, 'postgres', "after $how");
}

# After a start nobody has appended, and a worker that sleeps is woken.
my $position = prepare($node, 'postgres', 'over the start');
$node->restart;
is(mark($node, 'postgres'), $position - 1, 'nobody appends after a start: the mark stays below');
wakes($node, 'postgres', q{COMMIT PREPARED 'over the start'}, 'nobody appends after a start: COMMIT PREPARED wakes a worker');
is_free($node, 'postgres', 'nobody appends after a start');

# A reader that follows while ten sessions prepare and finish misses nothing.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE seen (turn bigserial, "position" bigint);
	CREATE TABLE writers_done ();
	CREATE PROCEDURE follow() LANGUAGE plpgsql AS $$
	DECLARE
		last_seen bigint := 0;
		last_round boolean;
		got bigint;
	BEGIN
		LOOP
			last_round := EXISTS (SELECT FROM writers_done);
			COMMIT;
			INSERT INTO seen ("position") SELECT e."position" FROM evstore.read_events(last_seen) e;
			GET DIAGNOSTICS got = ROW_COUNT;
			COMMIT;
			EXIT WHEN got = 0 AND last_round;
			last_seen := greatest(last_seen, (SELECT max("position") FROM seen));
		END LOOP;
	END
	$$;});
my $reader = $node->background_psql('postgres');
$reader->query_until(qr/reading/, "\\echo reading\nCALL follow();\n\\echo done\n");
$node->pgbench(
	'-n -c 10 -j 2 -t 60',
	0,
	[qr/number of transactions actually processed: 600/],
	[qr/^$/],
	'ten writers prepare and finish',
	{
		'prepare' => q{
\set end random(1, 4)
BEGIN;
SELECT evstore.append('race-' || :client_id, 'Sold', '{"region": "race", "amount": 1}');
PREPARE TRANSACTION 'race :client_id';
SELECT evstore.append('more-' || :client_id, 'Sold', '{"region": "race", "amount": 1}');
\if :end = 1
ROLLBACK PREPARED 'race :client_id';
\else
COMMIT PREPARED 'race :client_id';
\endif
} });
$node->safe_psql('postgres', 'INSERT INTO writers_done DEFAULT VALUES');
$reader->query_until(qr/done\n/, '');
$reader->quit;
is( $node->safe_psql('postgres', q{
		SELECT count(*) FROM events e FULL JOIN seen s USING ("position") WHERE e."position" IS NULL OR s."position" IS NULL}),
	'0', 'a reader that followed missed nothing');
is($node->safe_psql('postgres', q{
		SELECT count(*) - count(DISTINCT "position") FROM seen}), '0', 'and got nothing twice');
is_free($node, 'postgres', 'after the race');

# A standby that is promoted with prepared transactions in it.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my $on_primary = prepare($node, 'postgres', 'on the primary');
sell($node, 'postgres', 3);
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM evstore.appenders'), '0', 'a standby knows no appenders');
kill_server($node);
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
holds($standby, 'postgres', $on_primary, 'after promotion');
$standby->safe_psql('postgres', q{COMMIT PREPARED 'on the primary'});
is_free($standby, 'postgres', 'after promotion');

# What the launcher or a manager would have to be told of at the commit.
$standby->safe_psql('postgres', 'CREATE DATABASE without; CREATE DATABASE other');
$standby->safe_psql('other', 'CREATE EXTENSION evstore');
my %untold = (
	'CREATE EXTENSION' => [ 'without', 'CREATE EXTENSION evstore' ],
	'DROP EXTENSION' => [ 'other', 'DROP EXTENSION evstore' ],
	'create_projection' => [ 'postgres', q{SELECT evstore.create_projection('types', query => 'SELECT type, count(*) AS n FROM events GROUP BY type')} ],
	'drop_projection' => [ 'postgres', q{SELECT evstore.drop_projection('sales')} ]);
for my $what (sort keys %untold)
{
	my ($db, $sql) = @{ $untold{$what} };

	fails_with($standby, $db, "BEGIN; $sql; PREPARE TRANSACTION 'untold'", '0A000',
		"$what: PREPARE TRANSACTION is refused");
}
is( scalar $standby->psql(
		'other', q{
		BEGIN; DROP EXTENSION plpgsql; CREATE EXTENSION plpgsql; PREPARE TRANSACTION 'not ours';
		COMMIT PREPARED 'not ours'}),
	0, 'other extensions can be created and dropped in a prepared transaction');

# A transaction without events of its own holds nothing while it is prepared.
for my $end ('COMMIT', 'ROLLBACK')
{
	$standby->safe_psql('postgres',
		"BEGIN; INSERT INTO note VALUES ('$end'); SELECT count(*) FROM evstore.read_stream('sale-1'); PREPARE TRANSACTION 'plain'");
	sell($standby, 'postgres', 5);
	follows($standby, 'postgres', "$end PREPARED: the projections go on while it is prepared");
	$standby->safe_psql('postgres', "$end PREPARED 'plain'");
}
is($standby->safe_psql('postgres', 'SELECT line FROM note'),
	'COMMIT', 'the prepared transactions ended as they were told');

# Where prepared transactions are not enabled, PostgreSQL says so.
$standby->append_conf('postgresql.conf', 'max_prepared_transactions = 0');
$standby->restart;
fails_with($standby, 'postgres', "BEGIN; $event; PREPARE TRANSACTION 'disabled'", '55000',
	'disabled: PREPARE TRANSACTION is refused', qr/max_prepared_transactions/);
is_free($standby, 'postgres', 'disabled');

done_testing();
