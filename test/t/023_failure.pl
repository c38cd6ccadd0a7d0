# What must never be blamed on an event, done to real workers: a cancelled, a
# deadlocked, a locked-out and a timed-out batch, a crash in the middle of
# skipping and of parking.  And what must: the one event is passed once, whatever
# happens to the server meanwhile, and a projection in search of its poison
# holds up no other.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node(
	'main', conf => q{
restart_after_crash = on
log_statement = none
deadlock_timeout = 10ms
max_worker_processes = 16
});
make_store($node, 'postgres', batch_size => 50);

# A handler over all events, which notes each, and fails on what is poisoned.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE cured (what text PRIMARY KEY);
	CREATE TABLE account (name text PRIMARY KEY, n integer);
	INSERT INTO account VALUES ('a', 0), ('b', 0);
	CREATE TABLE taken (n bigint GENERATED ALWAYS AS IDENTITY, "position" bigint, stream text, version bigint);
	CREATE FUNCTION take(e evstore.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO taken ("position", stream, version) VALUES (e.position, e.stream, e.version);
		IF e.data ? 'poison' AND NOT EXISTS (SELECT FROM cured WHERE what = e.data->>'poison') THEN
			RAISE EXCEPTION 'poison %', e.data->>'poison';
		END IF;
		IF e.type = 'Booked' THEN
			UPDATE account SET n = n + 1 WHERE name = 'a';
			PERFORM pg_advisory_xact_lock(7);
			UPDATE account SET n = n + 1 WHERE name = 'b';
		END IF;
	END $$;
	CREATE FUNCTION take_quickly(e evstore.event) RETURNS void LANGUAGE plpgsql SET lock_timeout = '10ms' AS
		'BEGIN PERFORM take(e); END';
	CREATE FUNCTION poison(what text, stream text DEFAULT 'poisoned-1') RETURNS bigint LANGUAGE sql AS $$
		SELECT "position" FROM evstore.append(stream, 'Poured',
			jsonb_build_object('region', 'north', 'amount', 1, 'poison', what)) $$;
	SELECT evstore.create_projection('taken', handler => 'take', batch_size => 50, on_error => 'skip', retries => 0)});

my $state = q{SELECT state, failed_position IS NULL, skipped_events FROM evstore.projections WHERE name = 'taken'};
my $failing = q{SELECT state = 'failing' FROM evstore.projections WHERE name = 'taken'};

# Every event was taken once, in the order of its stream, or stands among the skipped; so many do.
sub right
{
	my ($test_name, $skipped) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( $node->safe_psql(
			'postgres', q{
		SELECT evstore.wait_for('taken', timeout => '2 minutes');
		SELECT count(*) FROM evstore.skipped_events;
		SELECT skipped_events FROM evstore.projections WHERE name = 'taken';
		SELECT count(*) FROM (
			(SELECT "position" FROM taken UNION ALL SELECT "position" FROM evstore.skipped_events)
			EXCEPT ALL SELECT "position" FROM events) twice;
		SELECT count(*) FROM (
			SELECT "position" FROM events EXCEPT ALL
			(SELECT "position" FROM taken UNION ALL SELECT "position" FROM evstore.skipped_events)) missing;
		SELECT count(*) FROM (SELECT version < lag(version) OVER (PARTITION BY stream ORDER BY n) AS wrong FROM taken) o WHERE wrong}),
		join("\n", 't', $skipped, $skipped, 0, 0, 0), $test_name)
	  or diag $node->safe_psql('postgres', 'SELECT name, state, "position", head, failures, last_error FROM evstore.projections');
	return;
}

# Nothing is skipped for this failure, and the projection recovers when it is over.
sub nobody
{
	my ($what, $pattern, $before, $after, $skipped) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$before->($session);
	eventually($node, 'postgres', $failing, "$what: the projection fails");
	like($node->safe_psql('postgres', q{SELECT last_error FROM evstore.projections WHERE name = 'taken'}),
		$pattern, "$what: it says so");
	is($node->safe_psql('postgres', $state), "failing|t|$skipped", "$what: no event is to blame");
	follows($node, 'postgres', "$what: the other projections go on");
	$after->($session);
	$session->quit;
	right("$what: nothing is skipped, missed or twice", $skipped);
	return;
}

sell($node, 'postgres', 200);
right('at first it follows', 0);

# Where a worker waits for a session's lock, and which worker.
my $waiting = q{FROM pg_stat_activity WHERE backend_type = 'evstore worker' AND wait_event_type = 'Lock'};

nobody(
	'cancelled', qr/57014: canceling statement due to user request/,
	sub {
		my ($session) = @_;
		$session->query_safe(q{BEGIN; LOCK TABLE taken IN SHARE MODE});
		sell($node, 'postgres', 20);
		$node->poll_query_until('postgres', "SELECT count(*) > 0 $waiting") or die "no worker came to its batch\n";
		$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $waiting");
	},
	sub { $_[0]->query_safe('ROLLBACK') }, 0);

# The session has b and wants a, the batch the other way round; and it is the batch that comes last, and finds out.
my $gate = $node->background_psql('postgres');
nobody(
	'deadlocked', qr/40P01: deadlock detected/,
	sub {
		my ($session) = @_;
		$gate->query_safe('SELECT pg_advisory_lock(7)');
		$session->query_safe(q{SET deadlock_timeout = '1h'; BEGIN; UPDATE account SET n = n WHERE name = 'b'});
		$node->safe_psql('postgres', q{SELECT evstore.append('booking-1', 'Booked', '{"region": "north", "amount": 1}')});
		$node->poll_query_until('postgres', "SELECT count(*) > 0 $waiting") or die "no worker came to its batch\n";
		$session->query_until(qr/asked/, "\\echo asked\nUPDATE account SET n = n WHERE name = 'a';\n");
		$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND wait_event_type = 'Lock'})
		  or die "the session does not wait\n";
		$gate->query_safe('SELECT pg_advisory_unlock(7)');
	},
	sub { $_[0]->query_safe('ROLLBACK') }, 0);
$gate->quit;
is($node->safe_psql('postgres', 'SELECT string_agg(n::text, $$,$$ ORDER BY name) FROM account'), '1,1', 'deadlocked: it has booked once');

$node->safe_psql(
	'postgres', q{
	SELECT evstore.pause_projection('taken');
	ALTER FUNCTION take SET lock_timeout = '10ms';
	SELECT evstore.resume_projection('taken')});
nobody(
	'locked out', qr/55P03: canceling statement due to lock timeout/,
	sub {
		$_[0]->query_safe(q{BEGIN; LOCK TABLE taken IN SHARE MODE});
		sell($node, 'postgres', 20);
	},
	sub { $_[0]->query_safe('ROLLBACK') }, 0);
$node->safe_psql('postgres', 'ALTER FUNCTION take RESET ALL');

$node->safe_psql('postgres', q{SELECT evstore.set_projection('taken', timeout => '50 ms')});
nobody(
	'timed out', qr/57014: canceling the batch.*time-out is 50 ms/s,
	sub {
		$_[0]->query_safe(q{BEGIN; LOCK TABLE taken IN SHARE MODE});
		sell($node, 'postgres', 20);
	},
	sub {
		$_[0]->query_safe('ROLLBACK');
		$node->safe_psql('postgres', q{SELECT evstore.set_projection('taken', timeout => '0')});
	},
	0);

# A crash, or the end of the worker, in the middle of skipping the event: it is skipped once.
sub crash_in_the_middle
{
	my ($what, $table, $signal, $skipped) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE");
	sell($node, 'postgres', 30);
	$node->safe_psql('postgres', "SELECT poison('$what')");
	sell($node, 'postgres', 30);
	$node->poll_query_until('postgres', "SELECT count(*) > 0 $waiting AND query = 'recording a failure'")
	  or die "no worker came to skip the event\n";
	my $pid = $node->safe_psql('postgres', "SELECT min(pid) $waiting AND query = 'recording a failure'");
	if ($signal eq 'crash')
	{
		kill 9, $pid;
		$node->wait_for_log(qr/PID $pid\) was terminated by signal 9/);
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	}
	else
	{
		is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)"), 't', "$what: the worker goes at once");
	}
	eval { $session->quit };
	right("$what: the event is skipped once, the others are taken once", $skipped);
	follows($node, 'postgres', "$what: and so are those of other projections");
	return;
}
crash_in_the_middle('crash before the record', 'evstore._skipped', 'crash', 1);
crash_in_the_middle('end before the record', 'evstore._skipped', 'end', 2);
$node->safe_psql('postgres', q{SELECT evstore.set_projection('taken', on_error => 'park')});
crash_in_the_middle('crash before parking', 'evstore._parked', 'crash', 3);
is($node->safe_psql('postgres', q{SELECT parked_streams FROM evstore.projections WHERE name = 'taken'}), '1', 'a stream is parked');

# Parked streams stay so through a restart, and a replay that does not commit leaves them where they are.
$node->restart;
$node->safe_psql('postgres', q{SELECT evstore.append('poisoned-1', 'Poured', '{"region": "north", "amount": 2}') FROM generate_series(1, 5)});
sell($node, 'postgres', 30);
right('parked: what follows in the stream is held back, over a restart', 8);
my $replay = $node->background_psql('postgres');
$node->safe_psql('postgres', q{INSERT INTO cured VALUES ('crash before parking')});
is($replay->query_safe(q{BEGIN; SELECT evstore.replay_parked('taken', 'poisoned-1')}), '6', 'a replay applies them');
$node->safe_psql('postgres', q{SELECT evstore.append('poisoned-1', 'Poured', '{"region": "north", "amount": 3}')});
sell($node, 'postgres', 30);
follows($node, 'postgres', 'while it is open, the other projections go on');
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('taken', timeout => '50 ms')}), 'f', 'and this one stands still');
kill_server($node);
eval { $replay->quit };
$node->start;
right('a crash takes the replay back', 9);

# Sessions append to a stream while it is parked and replayed, again and again: each event once, in order.
my $script = $node->basedir . '/load';
append_to_file($script, q{SELECT evstore.append('poisoned-1', 'Poured', '{"region": "south", "amount": 1}'), sell(3);} . "\n");
my ($out, $err) = ('', '');
my $load = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '2', '-R', '100', '-T', $PostgreSQL::Test::Utils::timeout_default, '-f', $script, $node->connstr('postgres') ],
	'>', \$out, '2>', \$err);
my $replayed = $node->safe_psql('postgres', q{SELECT evstore.replay_parked('taken', 'poisoned-1')});
for my $round (1 .. 5)
{
	$node->safe_psql('postgres', "SELECT poison('round $round')");
	$node->poll_query_until('postgres', q{SELECT skipped_events > 5 FROM evstore.projections WHERE name = 'taken'})
	  or die "nothing was parked\n";
	$replayed += $node->safe_psql('postgres', qq{
		INSERT INTO cured VALUES ('round $round');
		SELECT evstore.replay_parked('taken', 'poisoned-1')});
}
$load->kill_kill;
cmp_ok($replayed, '>', 7, "$replayed parked events were replayed under load");
right('replayed under load: all events once and in order, but for the two that were skipped', 2);

# A stopped projection stays stopped, and takes no turns.
my $poison = $node->safe_psql('postgres', q{SELECT evstore.set_projection('taken', on_error => 'stop'); SELECT poison('stop')});
$poison =~ s/\s//g;
my $stopped = q{SELECT state, failed_position FROM evstore.projections WHERE name = 'taken'};
eventually($node, 'postgres', $stopped, 'it stops at the event', "stopped|$poison");
$node->restart;
sell($node, 'postgres', 30);
follows($node, 'postgres', 'after a restart the other projections go on');
is($node->safe_psql('postgres', $stopped), "stopped|$poison", 'and it is still stopped');
$node->safe_psql('postgres', q{INSERT INTO cured VALUES ('stop'); SELECT evstore.retry_projection('taken')});
right('tried again, it goes on', 2);

# One worker, and three projections that are behind: the one with the highest priority has most turns, and the others some.
$node->safe_psql('postgres', 'ALTER SYSTEM SET evstore.workers = 1');
$node->reload;
eventually($node, 'postgres', process_count('worker', 'postgres'), 'there is one worker', '1');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE turn (n bigint GENERATED ALWAYS AS IDENTITY, who text);
	BEGIN;
	SELECT evstore.create_projection('turn_' || who, priority => priority, statement => format('INSERT INTO turn (who) SELECT %L', who)),
		evstore.pause_projection('turn_' || who) FROM (VALUES ('high', 5), ('low', -5), ('lowest', -6)) v (who, priority);
	COMMIT;
	SELECT evstore.set_projection(name, batch_size => ((SELECT count(*) FROM events) / 40)::integer),
		evstore.resume_projection(name) FROM evstore.projections WHERE name LIKE 'turn%';
	SELECT evstore.wait_for(name) FROM evstore.projections WHERE name LIKE 'turn%'});
my %turns = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres', q{
	SELECT who, count(*) FROM turn WHERE n <= (SELECT max(n) FROM (SELECT n FROM turn WHERE who = 'high' ORDER BY n LIMIT 30) h) GROUP BY who});
cmp_ok($turns{high}, '>=', 2 * ($turns{low} + $turns{lowest}), 'a high priority has most of the turns');
cmp_ok($turns{$_}, '>=', 2, "and $_ has some: $turns{$_} of $turns{high}") for ('low', 'lowest');
$node->safe_psql(
	'postgres', q{
	SELECT evstore.drop_projection(name) FROM evstore.projections WHERE name LIKE 'turn%';
	ALTER SYSTEM RESET evstore.workers});
$node->reload;

# A projection can be dropped while its batch is applied: the batch is finished, or never was.
my $session = $node->background_psql('postgres');
$session->query_safe(q{CREATE TABLE noted (n bigint)});
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION note(e evstore.event) RETURNS void LANGUAGE sql AS 'INSERT INTO noted VALUES (e.position)';
	SELECT evstore.create_projection('noted', handler => 'note');
	SELECT evstore.wait_for('noted')});
$session->query_safe(q{BEGIN; LOCK TABLE noted IN SHARE MODE});
sell($node, 'postgres', 1);
$node->poll_query_until('postgres', "SELECT count(*) > 0 $waiting") or die "no worker came to its batch\n";
my $dropper = $node->background_psql('postgres');
$dropper->query_until(qr/dropping/, "\\echo dropping\nSELECT evstore.drop_projection('noted');\n");
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query ~ '^SELECT evstore.drop' AND wait_event_type = 'Lock'})
  or die "nobody waits for the batch\n";
my $log = -s $node->logfile;
$session->query_safe('COMMIT');
is($dropper->query_safe(q{SELECT count(*) FROM evstore.projections WHERE name = 'noted'}), "\n0", 'a projection is dropped while its batch is applied');
$session->quit;
$dropper->quit;
unlike(slurp_file($node->logfile, $log), qr/deadlock/, 'and neither of the two is in the way of the other');
follows($node, 'postgres', 'the other projections go on');

# A dump has what was skipped and parked, and the stop.
$node->safe_psql(
	'postgres', q{
	SELECT evstore.create_projection('amounts', on_error => 'park', retries => 0,
		query => $$SELECT stream, sum((data->>'total')::numeric) AS total FROM events WHERE type = 'Paid' GROUP BY stream$$);
	CREATE SCHEMA app;
	SELECT evstore.create_event_table('app.journal');
	SELECT evstore.create_projection('both', read_table => 'both_tables', on_error => 'park', retries => 0, query => $$
		SELECT e.stream, sum(e.total) AS total FROM (SELECT stream, (data->>'total')::numeric AS total FROM events WHERE type = 'Paid'
			UNION ALL SELECT stream, (data->>'total')::numeric FROM app.journal) e GROUP BY e.stream$$);
	SELECT evstore.append('payment-1', 'Paid', '{"total": "much"}', event_table => 'app.journal'),
		evstore.append('payment-1', 'Paid', '{"total": 10}', event_table => 'app.journal');
	SELECT evstore.append('payment-1', 'Paid', '{"total": "much"}'), evstore.append('payment-1', 'Paid', '{"total": 1}'),
		evstore.append('payment-2', 'Paid', '{"total": 2}')});
$node->safe_psql('postgres', q{SELECT evstore.wait_for('amounts'), evstore.wait_for('both'), evstore.wait_for('taken')});
my $kept = q{
	SELECT p.name, s.event_table, stream, version, parked, sqlstate, message FROM evstore._skipped s JOIN evstore._projection p ON p.id = s.projection ORDER BY p.name, position;
	SELECT p.name, s.event_table, stream, version FROM evstore._parked s JOIN evstore._projection p ON p.id = s.projection ORDER BY 1, 2::text;
	SELECT name, on_error, retries, skipped_events, parked_streams FROM evstore.projections ORDER BY name};
my $before = $node->safe_psql('postgres', $kept);
like($before, qr/both\|app\.journal\|payment-1\|2\nboth\|events\|payment-1\|2\n/, 'streams of the same name in two tables are parked');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok([ 'pg_dump', '-Fp', '-f', $node->basedir . '/dump', $node->connstr('postgres') ], 'pg_dump');
command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $node->basedir . '/dump', '-d', $node->connstr('copy') ], 'restored');
is($node->safe_psql('copy', $kept), $before, 'what was skipped and parked is in the dump');
is( $node->safe_psql(
		'copy', q{
	SELECT evstore.append('payment-1', 'Paid', '{"total": 4}') IS NOT NULL, evstore.append('payment-2', 'Paid', '{"total": 8}') IS NOT NULL;
	SELECT evstore.wait_for('amounts');
	SELECT stream, total FROM amounts;
	SELECT count(*) FROM evstore.skipped_events WHERE projection = 'amounts'}),
	"t|t\nt\npayment-2|10\n3", 'the copy holds the stream back, too, and goes on with others');
is( $node->safe_psql(
		'copy', q{
	SELECT evstore.append('payment-1', 'Paid', '{"total": 20}', event_table => 'app.journal') IS NOT NULL;
	SELECT evstore.wait_for('both');
	SELECT event_table, stream, count(*) FROM evstore.skipped_events WHERE projection = 'both' GROUP BY 1, 2 ORDER BY 1::text;
	SET evstore.maintenance = on;
	UPDATE app.journal SET data = '{"total": 5}' WHERE version = 1;
	SELECT evstore.replay_parked('both', 'payment-1', 'app.journal');
	SELECT stream, total FROM both_tables ORDER BY stream}),
	"t\nt\napp.journal|payment-1|3\nevents|payment-1|3\n3\npayment-1|35\npayment-2|10", 'each of two tables');

done_testing();
