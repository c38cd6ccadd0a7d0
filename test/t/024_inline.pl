# Inline projections: switched back and forth while several sessions append in
# every way, they lose and repeat nothing; nor do they across crashes, dumps and
# promotions.  Three kinds: sales (query), ledger (statement; its table has no
# key, so an event applied twice stands there twice), tally (handler; a number
# for each stream, which it compares with the version of the event).  A fourth,
# echo (handlers), appends an answer to every question, to the same table.  Two
# more follow a second event table as well: balance (query) and journal
# (statement, without a key); there is load on both tables, and in both orders.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main',
	streaming => 1,
	conf => q{
restart_after_crash = on
log_statement = none
max_worker_processes = 16
max_prepared_transactions = 5
deadlock_timeout = 100ms
});
my $db = 'postgres';
make_store($node, $db, batch_size => 500);
$node->safe_psql(
	$db, q{
	CREATE TABLE tally (stream text PRIMARY KEY, events bigint NOT NULL);
	CREATE FUNCTION tally(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		n bigint;
	BEGIN
		INSERT INTO tally VALUES (e.stream, 1)
		ON CONFLICT (stream) DO UPDATE SET events = tally.events + 1 RETURNING events INTO n;
		IF n <> e.version THEN
			RAISE EXCEPTION 'version % of stream % came as number %', e.version, e.stream, n;
		END IF;
	END $$;
	SELECT evstore.create_projection('tally', handler => 'tally', read_table => 'tally', batch_size => 50);
	CREATE FUNCTION echo(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM evstore.append('answer-' || e.position % 5, 'Answered', jsonb_build_object('question', e.position));
	END $$;
	SELECT evstore.create_projection('echo', handlers => '{"Asked": "echo"}', batch_size => 50);
	SELECT evstore.create_event_table('payments');
	SELECT evstore.create_projection('balance', batch_size => 500, query => $$
		SELECT e.region, count(*) AS entries, sum(e.amount) AS balance FROM
			(SELECT data->>'region' AS region, (data->>'amount')::numeric AS amount FROM events WHERE type = 'Sold'
			UNION ALL SELECT data->>'region', -(data->>'amount')::numeric FROM payments) e
		GROUP BY e.region$$);
	CREATE TABLE journal ("position" bigint, source text);
	SELECT evstore.create_projection('journal', batch_size => 500, read_table => 'journal', statement => $$
		INSERT INTO journal SELECT "position", 'events' FROM new_events UNION ALL SELECT "position", 'payments' FROM new_payments$$);
	SELECT evstore.create_event_table('other');
	CREATE FUNCTION say(n integer) RETURNS jsonb LANGUAGE sql AS
		$$SELECT jsonb_build_object('region', 'region ' || n % 3, 'amount', n)$$});

my @projections = ('sales', 'ledger', 'tally', 'echo', 'balance', 'journal');

# Every read table is what the query over the whole log gives, none of the projections has failed.
sub is_right
{
	my ($where, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	# what is answered now is for the others to follow
	$where->safe_psql($db, q{SELECT evstore.wait_for('echo')});
	follows($where, $db, "$test_name: sales and ledger");
	is( $where->safe_psql(
			$db, q{
		SELECT evstore.wait_for('tally');
		SELECT count(*) FROM tally FULL JOIN (SELECT stream, count(*) AS n FROM events GROUP BY stream) e USING (stream)
		WHERE events IS DISTINCT FROM n}),
		"t\n0", "$test_name: tally");
	is( $where->safe_psql(
			$db, q{
		SELECT evstore.wait_for('echo');
		SELECT count(*) FROM (SELECT "position" FROM events WHERE type = 'Asked') q
			FULL JOIN (SELECT (data->>'question')::bigint AS "position", count(*) AS n FROM events WHERE type = 'Answered' GROUP BY 1) a
			USING ("position") WHERE n IS DISTINCT FROM 1}),
		"t\n0", "$test_name: echo");
	is( $where->safe_psql(
			$db, q{
		SELECT evstore.wait_for('balance');
		WITH e AS (SELECT e.region, count(*) AS entries, sum(e.amount) AS balance FROM
				(SELECT data->>'region' AS region, (data->>'amount')::numeric AS amount FROM events WHERE type = 'Sold'
				UNION ALL SELECT data->>'region', -(data->>'amount')::numeric FROM payments) e
			GROUP BY e.region), b AS (SELECT region, entries, balance FROM balance)
		SELECT count(*) FROM ((TABLE e EXCEPT TABLE b) UNION ALL (TABLE b EXCEPT TABLE e)) d}),
		"t\n0", "$test_name: balance");
	is( $where->safe_psql(
			$db, q{
		SELECT evstore.wait_for('journal');
		WITH e AS (SELECT "position", 'events' AS source FROM events UNION ALL SELECT "position", 'payments' FROM payments)
		SELECT count(*) FROM ((TABLE e EXCEPT ALL TABLE journal) UNION ALL (TABLE journal EXCEPT ALL TABLE e)) d}),
		"t\n0", "$test_name: journal");
	return;
}

# Ways to append, of several events, in orders of their regions that differ; some are rolled back.
my %scripts = (
	ask => q{SELECT evstore.append('ask-' || :n % 3, (SELECT array_agg(('Asked', say(i), NULL, NULL, NULL, NULL)::evstore.new_event)
		FROM generate_series(1, 1 + :n % 3) i));},
	one => q{SELECT evstore.append('sale-' || :n % 20, 'Sold', say(:n));},
	many => q{SELECT evstore.append('sale-' || :n % 20, (SELECT array_agg(('Sold', say(:n + i), NULL, NULL, NULL, NULL)::evstore.new_event)
		FROM generate_series(1, 1 + :n % 7) i));},
	insert => q{INSERT INTO events (stream, type, data) SELECT 'sale-' || i % 20, 'Sold', say(i) FROM generate_series(:n, :n + 5) i ORDER BY i % 20;},
	rollback => qq{BEGIN;
		SELECT evstore.append('sale-' || :n % 20, 'Sold', say(:n));
		SAVEPOINT s;
		SELECT evstore.append('sale-' || :n % 20, 'Sold', say(:n));
		ROLLBACK TO s;
		SELECT evstore.append('sale-' || :n % 20, 'Sold', say(:n));
		SELECT evstore.append('payment-' || :n % 20, 'Paid', say(:n), event_table => 'payments');
		SELECT evstore.append('other', 'T', '{}', event_table => 'other');\n},
	pay => q{SELECT evstore.append('payment-' || :n % 20, (SELECT array_agg(('Paid', say(:n + i), NULL, NULL, NULL, NULL)::evstore.new_event)
		FROM generate_series(1, 1 + :n % 3) i), event_table => 'payments');},
	sell_and_pay => q{BEGIN;
		SELECT evstore.append('sale-' || :n % 20, 'Sold', say(:n));
		SELECT evstore.append('payment-' || :n % 20, 'Paid', say(:n), event_table => 'payments');
		COMMIT;},
	pay_and_sell => q{BEGIN;
		INSERT INTO payments (stream, type, data) SELECT 'payment-' || i % 20, 'Paid', say(i) FROM generate_series(:n, :n + 2) i ORDER BY i % 20;
		SELECT evstore.append('sale-' || :n % 20, 'Sold', say(:n));
		COMMIT;},
	at_once => q{WITH p AS (INSERT INTO payments (stream, type, data) SELECT 'at-once-' || :n % 20, 'Paid', say(i) FROM generate_series(1, 3) i RETURNING *)
		INSERT INTO events (stream, type, data) SELECT 'at-once-' || :n % 20, 'Sold', data FROM p;},
	other => q{BEGIN;
		SELECT evstore.append('other-' || :n, 'T', '{}', event_table => 'other');
		SELECT evstore.append('sale-' || :n % 20, 'Sold', say(:n));
		COMMIT;});
$scripts{abort} = $scripts{rollback} . 'ROLLBACK;';
$scripts{rollback} .= 'COMMIT;';
my @files;
for my $name (sort keys %scripts)
{
	my $file = $node->basedir . "/$name.sql";
	append_to_file($file, "\\set n random(1, 1000)\n$scripts{$name}\n");
	push @files, '-f', $file;
}
my $load_number = 0;

# Start sessions that append; retries are pgbench's business, as deadlocks are an application's.
sub start_load
{
	my ($clients) = @_;
	my $load = { out => '', err => '' };

	$load->{run} = IPC::Run::start(
		[
			'pgbench', '-n', '-c', $clients, '-R', '150', '--max-tries=100', '-T', $PostgreSQL::Test::Utils::timeout_default,
			@files, $node->connstr($db)
		],
		'>', \$load->{out}, '2>', \$load->{err});
	return $load;
}

# Wait until the load has added so many events.
sub wait_for_events
{
	my ($n) = @_;
	my $before = $node->safe_psql($db, 'SELECT count(*) FROM events');

	$node->poll_query_until($db, "SELECT count(*) >= $before + $n FROM events") or die "no events came\n";
	return;
}

sub switch
{
	my ($name, $mode) = @_;
	return $node->psql($db, "SELECT evstore.set_projection('$name', mode => '$mode')");
}

sell($node, $db, 30);
is_right($node, 'at first, with workers');

# 1. Back and forth under load.
my $load = start_load(4);
my %mode = map { $_ => 'async' } @projections;
my $switched = 0;
for my $round (1 .. 12)
{
	wait_for_events(40);
	for my $name (@projections)
	{
		# each in a rhythm of its own, so that every mixture of modes comes
		next if $round % 2 == 0 && $name eq 'ledger';
		next if $round % 3 == 0 && $name eq 'tally';
		my $mode = $mode{$name} eq 'async' ? 'inline' : 'async';
		my ($rc, undef, $err) = switch($name, $mode);
		is($err // '', '', "round $round: $name becomes $mode");
		$mode{$name} = $mode;
		$switched++;
	}
}
# one that flips as fast as it can
for my $round (1 .. 20)
{
	switch('sales', $mode{sales} = $round % 2 ? 'inline' : 'async');
	switch('journal', $mode{journal} = $round % 3 ? 'inline' : 'async');
}
# one that is declared inline, and one that is dropped, meanwhile
$node->safe_psql(
	$db, q{
	SELECT evstore.create_projection('types', mode => 'inline', query => 'SELECT type, count(*) AS n FROM events GROUP BY type')});
wait_for_events(100);
$load->{run}->kill_kill;
unlike($load->{err}, qr/aborted/, 'no session of the load was aborted');
is_right($node, "after $switched switches");
is( $node->safe_psql($db, 'SELECT count(*) FROM (SELECT type, count(*) FROM events GROUP BY type EXCEPT TABLE types) d'),
	'0', 'one declared inline under load is right');
is($node->safe_psql($db, 'SELECT count(*) FROM evstore.projections WHERE failures > 0'), '0', 'none has failed');
$node->safe_psql($db, q{SELECT evstore.drop_projection('types')});

# 2. While a transaction that has appended elsewhere holds the safe position below.
switch($_, 'async') for @projections;
is_right($node, 'all async again');
for my $way ([ 'async', 'inline' ], [ 'inline', 'async' ])
{
	my ($from, $to) = @$way;
	my $open = $node->background_psql($db);

	my $held = $open->query_safe(q{BEGIN; SELECT "position" FROM evstore.append('other', 'T', '{}', event_table => 'other')});
	sell($node, $db, 10);
	switch($_, $to) for @projections;
	my $last = sell($node, $db, 10);
	# the open one is no event of theirs; all at or below where a switch to async stood has been applied
	is( $node->safe_psql($db, qq{SELECT evstore.wait_for('sales', $held, '20 ms'), evstore.wait_for('sales', $last, '20 ms')}),
		$to eq 'inline' ? 'f|t' : 't|f', "$to: what is waited for while a lower position is open");
	$open->query_safe('COMMIT');
	$open->quit;
	is_right($node, "from $from to $to above the safe position");
}

# 3. A prepared transaction is waited for, and its events are counted once.
$node->safe_psql($db, q{BEGIN; SELECT sell(3); PREPARE TRANSACTION 'p'});
fails_with($node, $db, q{SET lock_timeout = '50ms'; SELECT evstore.set_projection('sales', mode => 'inline')},
	'55P03', 'a switch waits for a prepared transaction');
$node->safe_psql($db, q{COMMIT PREPARED 'p'});
switch('sales', 'inline');
is_right($node, 'after a prepared transaction');

# 4. A crash while sessions append inline.
switch($_, 'inline') for @projections;
is($node->safe_psql($db, q{SELECT count(*) FROM evstore.projections WHERE mode = 'inline' AND state = 'live'}), '6', 'all are inline');
$load = start_load(4);
wait_for_events(200);
kill_server($node);
$load->{run}->kill_kill;
$node->start;
is_right($node, 'after a crash');
sell($node, $db, 20);
is_right($node, 'after a crash, with more events');
# 5. A session that appends is killed.
$load = start_load(4);
wait_for_events(50);
my $session = $node->safe_psql($db, q{SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()});
kill 9, $session;
$node->wait_for_log(qr/PID $session\) was terminated by signal 9/);
$load->{run}->kill_kill;
$node->poll_query_until($db, 'SELECT true');
is_right($node, 'after a session was killed');

# 6. Dumped and restored: as one archive, and the schema first.
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $db ], 'pg_dump');
for my $restored ('whole', 'parts')
{
	$node->safe_psql($db, "CREATE DATABASE $restored");
	if ($restored eq 'whole')
	{
		$node->command_ok([ 'pg_restore', '-j2', '-d', $restored, $dump ], 'pg_restore');
	}
	else
	{
		$node->command_ok([ 'pg_restore', '--schema-only', '-d', $restored, $dump ], 'pg_restore of the schema');
		$node->command_ok([ 'pg_restore', '--data-only', '--single-transaction', '-d', $restored, $dump ],
			'pg_restore of the data');
	}
	is( $node->safe_psql(
			$restored, q{SELECT count(*) FROM evstore.projections WHERE mode = 'inline' AND state = 'live';
		SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('events'::regclass, 'payments'::regclass) AND tgname = 'evstore_inline' AND tgenabled = 'A'}),
		"6\n2", "$restored: the projections are inline");
	$db = $restored;
	is_right($node, "restored $restored");
	sell($node, $restored, 30);
	is_right($node, "restored $restored, with more events");
	switch($_, 'async') for @projections;
	sell($node, $restored, 30);
	is_right($node, "restored $restored, and async");
	$db = 'postgres';
}

# 7. A standby has the read tables as they are, and goes on when it is promoted.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sell($node, $db, 20);
$node->wait_for_catchup($standby);
my $tables = q{SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM sales t; SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM ledger t};
is($standby->safe_psql($db, $tables), $node->safe_psql($db, $tables), 'the standby has the read tables');
is($standby->safe_psql($db, q{SELECT count(*), count("position") FROM evstore.projections WHERE mode = 'inline'}),
	'6|0', 'the standby shows what it knows');
kill_server($node);
$standby->promote;
sell($standby, $db, 20);
is_right($standby, 'promoted');

done_testing();
