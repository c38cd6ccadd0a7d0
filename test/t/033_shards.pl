# Several workers apply the shards of one projection at the same time. Whatever
# dies half-way, however often their number changes, and when one of them stops:
# every event is applied once, by the one shard that it belongs to.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main', conf => q{
restart_after_crash = on
log_statement = none
max_worker_processes = 30
evstore.workers = 8
});
make_store($node, 'postgres', batch_size => 50);

# A projection of every kind with shards, besides the two without. The handler
# goes through a gate, an advisory lock that a session may hold, and does not like
# some streams. What it and the statement add has no key: twice would be twice.
$node->safe_psql(
	'postgres', q{
	SELECT evstore.create_projection('by_region', shards => 3, batch_size => 40,
		query => $$SELECT data->>'region' AS region, count(*) AS sales, sum((data->>'amount')::numeric) AS amount FROM events GROUP BY 1$$);
	-- enough streams that every shard has some
	CREATE OR REPLACE FUNCTION sell(n integer) RETURNS bigint LANGUAGE sql AS $$
		SELECT max(a."position") FROM (SELECT (random() * 40)::integer AS first) r, generate_series(r.first, r.first + n - 1) g, LATERAL evstore.append(
			'sale-' || g % 40, 'Sold', jsonb_build_object('region', 'region ' || g % 7, 'amount', g)) a
	$$;
	CREATE TABLE stated ("position" bigint, stream text);
	SELECT evstore.create_projection('stated', shards => 2, batch_size => 30, read_table => 'stated',
		statement => 'INSERT INTO stated SELECT "position", stream FROM new_events');
	CREATE TABLE bad (stream text);
	CREATE TABLE handled ("position" bigint, stream text, version bigint);
	CREATE TABLE of_stream (stream text PRIMARY KEY, n bigint);
	CREATE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(77);
			IF e.stream IN (SELECT stream FROM bad) THEN
				RAISE 'stream % is bad', e.stream;
			END IF;
			INSERT INTO handled VALUES (e.position, e.stream, e.version);
			-- the rows of a stream are one shard's to read and write
			UPDATE of_stream SET n = n + 1 WHERE stream = e.stream;
			IF NOT FOUND THEN
				INSERT INTO of_stream VALUES (e.stream, 1);
			END IF;
		END $$;
	SELECT evstore.create_projection('handled', shards => 4, batch_size => 20, retries => 0, read_tables => '{handled, of_stream}',
		handler => 'on_event')});

# SQL for the rows that are not as the whole log makes them.
my $differences = q{
	SELECT count(*) FROM (
		((SELECT data->>'region', count(*), sum((data->>'amount')::numeric) FROM events GROUP BY 1) EXCEPT SELECT region, sales, amount FROM by_region)
		UNION ALL SELECT 'state ' || stream, n, NULL FROM
			((SELECT stream, "position" AS n FROM events EXCEPT ALL SELECT stream, "position" FROM stated)
			UNION ALL (SELECT stream, "position" FROM stated EXCEPT ALL SELECT stream, "position" FROM events)
			UNION ALL (SELECT stream, "position" FROM events EXCEPT ALL SELECT stream, "position" FROM handled)
			UNION ALL (SELECT stream, "position" FROM handled EXCEPT ALL SELECT stream, "position" FROM events)
			UNION ALL (SELECT stream, count(*) FROM events GROUP BY 1 EXCEPT SELECT stream, n FROM of_stream)) s) d};

# All projections catch up, and every table is as it should be.
sub all_follow
{
	my ($db, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($node->safe_psql($db, 'SELECT evstore.wait_for_all()'), 't', "$test_name: all catch up")
	  or diag $node->safe_psql($db, 'SELECT name, state, "position", head, last_error FROM evstore.projections');
	is($node->safe_psql($db, $differences), '0', "$test_name: nothing missed, nothing twice");
	is($node->safe_psql($db, q{SELECT count(*) FROM unnest('{by_region, stated, handled}'::text[]) n, LATERAL evstore.verify_projection(n)}),
		'0', "$test_name: verified");
}

# So many workers wait at the gate.
sub waiting
{
	my ($count) = @_;
	return qq{SELECT count(*) = $count FROM pg_stat_activity WHERE backend_type = 'evstore worker' AND wait_event = 'advisory'};
}

# A session that holds the gate until it quits.
sub close_gate
{
	my $gate = $node->background_psql('postgres', on_error_stop => 0);

	$gate->query_safe('SELECT pg_advisory_lock(77)');
	return $gate;
}

sell($node, 'postgres', 200);
all_follow('postgres', 'at first');

# At the same time: all shards have begun a batch, and none has ended it.
my $gate = close_gate();
sell($node, 'postgres', 100);
eventually($node, 'postgres', waiting(4), 'four workers apply one projection at the same time');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'evstore worker' AND wait_event = 'advisory' AND query LIKE '%"handled"%'}), '4', 'it is one projection to all of them');
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('by_region') AND evstore.wait_for('stated')}), 't', 'the others are not held up');
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('handled', timeout => '10 ms')}), 'f', 'it is waited for');
$gate->quit;
all_follow('postgres', 'after they have gone on');

# Somebody dies while all shards are within a batch, and sessions append.
my $script = $node->basedir . '/load';
append_to_file($script, "SELECT sell(5);\n");
my @load = (
	'pgbench', '-n', '-c', '2', '-R', '60', '-T', $PostgreSQL::Test::Utils::timeout_default,
	'-f', $script, $node->connstr('postgres'));

sub under_load
{
	my ($what, $do) = @_;
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM events');
	my ($out, $err) = ('', '');
	my $pgbench = IPC::Run::start(\@load, '>', \$out, '2>', \$err);

	$node->poll_query_until('postgres', "SELECT count(*) > $before + 100 FROM events");
	$do->();
	$pgbench->kill_kill;
	$node->poll_query_until('postgres', 'SELECT true');
	all_follow('postgres', $what);
}

# Close the gate, wait until the shards stand before it, and do something.
sub within_batches
{
	my ($do) = @_;
	my $closed = close_gate();

	$node->poll_query_until('postgres', waiting(4)) or die "the shards did not come to the gate\n";
	$do->();
	eval { $closed->quit };
}

under_load('kill -9 of a worker', sub {
	within_batches(sub {
		my $pid = $node->safe_psql('postgres', q{SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'evstore worker' AND wait_event = 'advisory'});
		kill 9, $pid;
		$node->wait_for_log(qr/PID $pid\) was terminated by signal 9/);
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	});
});
under_load('kill -9 of every process', sub { within_batches(sub { kill_server($node); $node->start }) });
under_load('a worker is terminated', sub {
	within_batches(sub {
		$node->safe_psql('postgres', q{SELECT pg_terminate_backend(min(pid), 10000) FROM pg_stat_activity WHERE backend_type = 'evstore worker' AND wait_event = 'advisory'});
	});
});

# A change of their number waits for the batches that are under way, and is waited for.
under_load('another number within batches', sub {
	my ($out, $err) = ('', '');
	my $change;

	within_batches(sub {
		$change = IPC::Run::start([ 'psql', '-XAtq', '-c', q{SELECT evstore.set_projection('handled', shards => 4)}, '-c',
			q{SELECT evstore.set_projection('handled', shards => 6)}, $node->connstr('postgres') ], '>', \$out, '2>', \$err);
		eventually($node, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
			WHERE query LIKE '%shards => 6%' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()}, 'another number within batches: it waits');
	});
	$change->finish;
	is($err, '', 'another number within batches: no error');
	is($node->safe_psql('postgres', q{SELECT shards FROM evstore.projections WHERE name = 'handled'}), '6', 'another number within batches: it is there');
});

# Their number changes again and again, and so do the tables, built anew.
under_load('other numbers of shards', sub {
	for my $shards (7, 1, 2, 16, 3)
	{
		$node->safe_psql('postgres', qq{
			SELECT evstore.set_projection('by_region', shards => $shards);
			SELECT evstore.set_projection('stated', shards => $shards);
			SELECT evstore.set_projection('handled', shards => $shards)});
		is($node->safe_psql('postgres', q{SELECT count(*) FROM unnest('{by_region, stated, handled}'::text[]) n, LATERAL evstore.verify_projection(n)}),
			'0', "$shards shards, verified under load");
	}
});
under_load('rebuilding', sub {
	$node->safe_psql('postgres', q{
		UPDATE by_region SET sales = sales + 1;
		DELETE FROM stated WHERE "position" % 3 = 0;
		UPDATE of_stream SET n = 0;
		SELECT evstore.rebuild_projection(n) FROM unnest('{by_region, stated, handled}'::text[]) n});
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM evstore.rebuild_progress'), 'rebuilding: it comes to its end under load');
	is($node->safe_psql('postgres', 'SELECT string_agg(shards::text, $$ $$ ORDER BY name) FROM evstore.projections'), '3 3 1 1 3', 'rebuilding: there are as many shards as before');
});

# One shard stops at an event; the others go on, and it stays stopped across a crash.
$node->safe_psql('postgres', q{INSERT INTO bad VALUES ('sale-4')});
sell($node, 'postgres', 100);
my $is_stopped = q{SELECT state = 'stopped' FROM evstore.projections WHERE name = 'handled'};
my $others_are_through = q{
	SELECT count(*) = 0 FROM events e WHERE NOT EXISTS (SELECT FROM handled h WHERE h."position" = e."position")
	AND NOT EXISTS (SELECT FROM evstore._projection p WHERE p.name = 'handled'
		AND evstore._in_shard(evstore._hash(0, e.stream), p.shard, 3) AND evstore._in_shard(evstore._hash(0, 'sale-4'::text), p.shard, 3))};
eventually($node, 'postgres', $is_stopped, 'a poison event stops the projection');
eventually($node, 'postgres', $others_are_through, 'the other shards go on');
kill_server($node);
$node->start;
sell($node, 'postgres', 100);
eventually($node, 'postgres', $others_are_through, 'after a crash, they still do');
is($node->safe_psql('postgres', $is_stopped), 't', 'after a crash, the one is still stopped');
is($node->safe_psql('postgres', q{SELECT count(*) FROM handled h JOIN events e USING ("position")
	WHERE e.stream = 'sale-4' AND e."position" >= (SELECT failed_position FROM evstore.projections WHERE name = 'handled')}),
	'0', 'what it stopped at is not applied');

# Dumped so, with shards that stand at different positions, and restored.
$node->safe_psql('postgres', 'SELECT evstore.wait_for(n) FROM unnest($${by_region, stated}$$::text[]) n');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-Fp', '-f', $dump, 'postgres' ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restore');
is($node->safe_psql('restored', q{SELECT name, state, shards FROM evstore.projections WHERE shards > 1 AND kind <> 'query' ORDER BY name}),
	"handled|paused|3\nstated|paused|3", 'the restored statement and handler wait to be resumed');
for my $db ('postgres', 'restored')
{
	$node->safe_psql($db, q{
		DELETE FROM bad;
		SELECT evstore.resume_projection(name) FROM evstore.projections WHERE state = 'paused';
		SELECT evstore.retry_projection('handled');
		SELECT sell(50)});
	all_follow($db, "$db, resumed");
}

# Rows that all streams write: batches may deadlock, and be tried again, but nothing is lost or counted twice.
$node->safe_psql('postgres', q{
	CREATE TABLE shared (region text PRIMARY KEY, n bigint, amount numeric);
	CREATE FUNCTION on_shared(e evstore.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO shared AS s VALUES (e.data->>'region', 1, (e.data->>'amount')::numeric)
		ON CONFLICT (region) DO UPDATE SET n = s.n + 1, amount = s.amount + EXCLUDED.amount $$;
	SELECT evstore.create_projection('shared', shards => 3, batch_size => 400, handler => 'on_shared', on_error => 'skip', retries => 0)});
sell($node, 'postgres', 100);
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('shared')}), 't', 'shared rows: it catches up');
is($node->safe_psql('postgres', q{
	SELECT (SELECT count(*) FROM (SELECT data->>'region', count(*), sum((data->>'amount')::numeric) FROM events GROUP BY 1 EXCEPT SELECT region, n, amount FROM shared) d)
		+ (SELECT skipped_events FROM evstore.projections WHERE name = 'shared')}), '0', 'shared rows: nothing missed, nothing twice, nothing skipped');
$node->safe_psql('postgres', q{SELECT evstore.drop_projection('shared')});

# Each shard tells of its batches, and only of its own.
$node->safe_psql('postgres', 'ALTER SYSTEM SET evstore.notify = on');
$node->restart;
$node->safe_psql('postgres', q{SELECT evstore.set_projection('handled', shards => 2)});
my ($said, $error) = ('', '');
my $listener = IPC::Run::start([ 'psql', '-XAtq', $node->connstr('postgres') ],
	'<', \"LISTEN evstore; SELECT evstore.append('sale-1', 'Sold', '{}'); SELECT evstore.append('sale-' || n, 'Sold', '{}') FROM generate_series(1, 20) n;
	SELECT evstore.wait_for('handled'); SELECT 'end';\n", '>', \$said, '2>', \$error);
$listener->finish;
like($said, qr/\{"projection": "handled", "position": \d+, "shard": $_\}/, "shard $_ notifies") for (0, 1);

# A key whose equality may change with a library is refused.
SKIP:
{
	skip 'no ICU', 1 unless $node->safe_psql('postgres', q{SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'}) eq 't';
	$node->safe_psql('postgres', q{CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)});
	fails_with($node, 'postgres', q{SELECT evstore.create_projection('folded', shards => 2,
		query => $$SELECT (data->>'region') COLLATE folded AS region, count(*) AS n FROM events GROUP BY 1$$)},
		'0A000', 'a key of a collation that is not deterministic', qr/cannot divide a query by its key "region"/);
}

done_testing();
