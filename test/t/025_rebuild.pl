# Rebuilding read tables while they are in use: nobody who reads finds a table
# empty or stepping back, nobody who writes is held up, and whatever dies half-way
# leaves the old table in use and the rebuild to go on.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', conf => "restart_after_crash = on\nlog_statement = none\n");
make_store($node, 'postgres', batch_size => 50);
sell($node, 'postgres', 3000);

# The ledger declares its table; beyond the first batches it goes through a gate,
# an advisory lock that a session may hold.
$node->safe_psql('postgres', q{
	SELECT evstore.wait_for('ledger');
	SELECT evstore.drop_projection('ledger');
	TRUNCATE ledger;
	CREATE FUNCTION gate(n bigint) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			IF n > 1000 THEN
				PERFORM pg_advisory_xact_lock_shared(77);
			END IF;
		END $$;
	SELECT evstore.create_projection('ledger', batch_size => 50, read_table => 'ledger', statement => $$
		INSERT INTO ledger ("position", stream, amount)
		SELECT "position", stream, (data->>'amount')::numeric FROM new_events;
		SELECT gate(max("position")) FROM new_events $$);

	-- Harm that does not change what the readers look at.
	CREATE FUNCTION do_harm() RETURNS void LANGUAGE sql AS $$
		LOCK sales, ledger IN SHARE ROW EXCLUSIVE MODE;
		UPDATE sales SET amount = amount + 1;
		UPDATE ledger SET amount = -1 WHERE "position" % 3 = 0;
	$$;
	-- Reads until told to stop, and says what went backwards.
	CREATE TABLE stop (reading boolean);
	CREATE PROCEDURE read_on(INOUT reads bigint, INOUT wrong text) LANGUAGE plpgsql AS $$
		DECLARE
			now bigint[];
			before bigint[] := '{0,0,0,0}';
		BEGIN
			reads := 0;
			WHILE NOT EXISTS (SELECT FROM stop) LOOP
				SELECT ARRAY[(SELECT sum(sales) FROM sales), (SELECT count(*) FROM ledger),
					(SELECT "position" FROM evstore.projections WHERE name = 'sales'),
					(SELECT "position" FROM evstore.projections WHERE name = 'ledger')] INTO now;
				IF now[1] < before[1] OR now[1] IS NULL OR now[2] < before[2] OR now[3] < before[3] OR now[4] < before[4] THEN
					wrong := format('%s after %s', now, before);
					RETURN;
				END IF;
				before := now;
				reads := reads + 1;
				COMMIT;
				PERFORM pg_sleep(0.002);
			END LOOP;
		END $$;
});
follows($node, 'postgres', 'at first the projections follow');

# The number of differences that verify finds in both. An inline statement it does not verify, but every snapshot
# shows that complete.
sub differences
{
	my ($mode) = @_;
	my $ledger = ($mode || '') eq 'inline' ? q{SELECT count(*) FROM ledger l FULL JOIN events e USING ("position")
		WHERE (data->>'amount')::numeric IS DISTINCT FROM amount} : q{SELECT count(*) FROM evstore.verify_projection('ledger')};

	return $node->safe_psql('postgres', qq{SELECT (SELECT count(*) FROM evstore.verify_projection('sales')) + ($ledger)});
}

# SQL that begins both rebuilds.
my $rebuild = q{SELECT evstore.rebuild_projection('sales'); SELECT evstore.rebuild_projection('ledger');};
my $none_left = 'SELECT count(*) = 0 FROM evstore.rebuild_progress';
my $no_schema = q{SELECT count(*) = 0 FROM pg_namespace WHERE nspname LIKE 'evstore\_shadow%'};

# Under load of writers and readers, again and again.
my $script = $node->basedir . '/load';
append_to_file($script, "SELECT sell(20);\n");
my ($out, $err) = ('', '');
my $pgbench = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '2', '-R', '50', '-T', $PostgreSQL::Test::Utils::timeout_default, '-f', $script, $node->connstr('postgres') ],
	'>', \$out, '2>', \$err);
my @readers;
for (1 .. 2)
{
	my ($read, $error) = ('', '');
	push @readers,
	  [ IPC::Run::start([ 'psql', '-XAtq', '-c', "CALL read_on(0, '')", $node->connstr('postgres') ], '>', \$read, '2>', \$error), \$read ];
}
for my $mode (qw(async inline))
{
	$node->safe_psql('postgres', "SELECT evstore.set_projection(name, mode => '$mode') FROM (VALUES ('sales'), ('ledger')) v(name)");
	for my $round (1 .. 3)
	{
		$node->safe_psql('postgres', 'SELECT do_harm()');
		cmp_ok(differences($mode), '>', 100, "$mode, round $round: the harm is seen");
		$node->safe_psql('postgres', $rebuild);
		ok($node->poll_query_until('postgres', $none_left), "$mode, round $round: under load, the rebuilds come to their end");
		is(differences($mode), '0', "$mode, round $round: it is mended");
	}
	# another definition, which computes, and the first one again
	for my $factor (2, 1)
	{
		my $query = $factor == 1 ? $sales_query : $sales_query =~ s/sum\(.*?::numeric\)/2 * $&/r;

		$node->safe_psql('postgres', "SELECT evstore.replace_projection('sales', query => \$\$ $query \$\$)");
		ok($node->poll_query_until('postgres', $none_left), "$mode: under load, another definition is put in place");
		is(differences($mode), '0', "$mode: and is right");
		is($node->safe_psql('postgres', q{SELECT relkind FROM pg_class WHERE oid = 'sales'::regclass}),
			$factor == 1 ? 'r' : 'v', "$mode: what is read is a view if it computes");
	}
}
$node->safe_psql('postgres', "SELECT evstore.set_projection(name, mode => 'async') FROM (VALUES ('sales'), ('ledger')) v(name)");
is($node->safe_psql('postgres', 'SELECT count(*) FROM evstore.projections WHERE failures > 0'), '0', 'nothing has failed');
$node->safe_psql('postgres', 'INSERT INTO stop VALUES (false)');
for my $reader (@readers)
{
	$reader->[0]->finish;
	like(${ $reader->[1] }, qr/^[1-9]\d+\|$/, 'a reader has seen nothing step back: ' . ${ $reader->[1] });
}
$pgbench->kill_kill;
$node->poll_query_until('postgres', 'SELECT true');
sell($node, 'postgres', 1);
follows($node, 'postgres', 'after the load, the projections follow');
ok($node->poll_query_until('postgres', $no_schema), 'no schema is left behind');

# Half-way: the gate is closed while the rebuild is between its first batch and its last.
sub half_way
{
	my ($what, $do) = @_;
	my $gate = $node->background_psql('postgres', on_error_stop => 0);

	$node->safe_psql('postgres', 'SELECT do_harm()');
	$gate->query_safe('SELECT pg_advisory_lock(77)');
	$node->safe_psql('postgres', "SELECT evstore.rebuild_projection('ledger')");
	eventually($node, 'postgres', q{
		SELECT count(*) = 1 FROM evstore.rebuild_progress, pg_stat_activity
		WHERE "position" BETWEEN 900 AND 1100 AND backend_type = 'evstore worker' AND wait_event = 'advisory'}, "$what: half-way");
	is($node->safe_psql('postgres', 'SELECT count(*) > 3000 FROM ledger'), 't', "$what: the table is in use");
	$do->();
	eval { $gate->quit };
	ok($node->poll_query_until('postgres', $none_left), "$what: the rebuild goes on, and comes to its end");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM evstore.verify_projection('ledger')}), '0', "$what: it is mended");
	$node->safe_psql('postgres', q{SELECT evstore.rebuild_projection('sales')});
	ok($node->poll_query_until('postgres', $none_left), "$what: so is the other");
	follows($node, 'postgres', "$what: nothing missed, nothing twice", 5);
	ok($node->poll_query_until('postgres', $no_schema), "$what: no schema is left behind");
}

# The worker that waits.
my $waiting = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'evstore worker' AND wait_event_type = 'Lock'};

# Kill it, and wait until the server is back.
sub kill_waiting
{
	my $pid = $node->safe_psql('postgres', $waiting);

	kill 9, $pid;
	$node->wait_for_log(qr/PID $pid\) was terminated by signal 9/);
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
}

half_way('kill -9 of the worker', \&kill_waiting);
half_way('kill -9 of every process', sub { kill_server($node); $node->start });
half_way('restart', sub { $node->stop('immediate'); $node->start });
half_way('a worker terminated',
	sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 10000) FROM ($waiting) w") });
half_way('a worker cancelled',
	sub { $node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM ($waiting) w") });

# An open transaction that reads the tables keeps no swap off, and goes on reading.
my $reader = $node->background_psql('postgres');
$node->safe_psql('postgres', 'SELECT do_harm()');
$reader->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT * FROM ledger; FETCH 1 FROM c');
$node->safe_psql('postgres', $rebuild);
ok($node->poll_query_until('postgres', $none_left), 'an open reader does not keep a swap off');
is($reader->query_safe('MOVE ALL FROM c; SELECT count(*) > 3000 FROM ledger'), 't', 'and reads on');
is(differences(), '0', 'while the tables are right');
$reader->query_safe('COMMIT');

# One that writes them does, for the time being, and nobody who reads waits behind it.
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; LOCK TABLE ledger IN ROW EXCLUSIVE MODE');
$node->safe_psql('postgres', q{UPDATE ledger SET amount = 0; SELECT evstore.rebuild_projection('ledger')});
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM ($waiting) w");
is($node->safe_psql('postgres', 'SET lock_timeout = 1000; SELECT count(*) > 3000 FROM ledger'), 't', 'nobody who reads waits for a swap that waits');
kill_waiting();
eval { $writer->quit };
ok($node->poll_query_until('postgres', $none_left), 'a swap that was killed is done again');
follows($node, 'postgres', 'and the table is right', 5);

# A verification that waits for the view of a projection takes the one that is there then.
$node->safe_psql('postgres', q{
	SELECT evstore.create_projection('kinds', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
	SELECT evstore.wait_for('kinds');
	CREATE TABLE found (n bigint)});
my $holder = $node->background_psql('postgres');
my $verifier = $node->background_psql('postgres');
my $verify = q{INSERT INTO found SELECT count(*) FROM evstore.verify_projection('kinds')};
$verifier->query_safe($verify);
$holder->query_safe(q{BEGIN; SELECT FROM evstore._checkpoint WHERE projection = (SELECT id FROM evstore._projection WHERE name = 'kinds') FOR UPDATE});
$node->safe_psql('postgres', q{SELECT evstore.replace_projection('kinds', query => 'SELECT type, count(stream) AS n FROM events GROUP BY type')});
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted});
$verifier->query_until(qr/verifying/, "\\echo verifying\n$verify;\n");
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO found%'});
$holder->query_safe('COMMIT');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 2 AND sum(n) = 0 FROM found'), 'a verification waits for a swap, and goes by what it has put in place');
$_->quit for $holder, $verifier;
$node->safe_psql('postgres', q{SELECT evstore.drop_projection('kinds')});

# Off by default, an audit finds what differs, and that it does no more.
is($node->safe_psql('postgres', 'SELECT count(verified_at) FROM evstore.projections'), '0', 'nobody looks unasked');
$node->safe_psql('postgres', 'UPDATE sales SET amount = amount + 1');
$node->append_conf('postgresql.conf', "evstore.audit_interval = '20ms'\nevstore.audit_sample = 1\n");
$node->reload;
my $audited = q{FROM evstore.projections WHERE name = 'sales' AND verified_at IS NOT NULL};
eventually($node, 'postgres', "SELECT differences = 3 $audited", 'an audit finds the rows that differ');
$node->wait_for_log(qr/WARNING:.*projection "sales" differs from its events in 3 rows/);
$node->safe_psql('postgres', q{SELECT evstore.rebuild_projection('sales')});
eventually($node, 'postgres', "SELECT differences = 0 $audited", 'after a rebuild, an audit finds none');
follows($node, 'postgres', 'the audit keeps nobody from following', 100);
# What cannot be verified is no reason to stop.
$node->safe_psql('postgres', 'ALTER TABLE sales RENAME COLUMN amount TO much');
eventually($node, 'postgres', "SELECT differences IS NULL $audited", 'an audit that fails says nothing');
$node->safe_psql('postgres', 'ALTER TABLE sales RENAME COLUMN much TO amount');
eventually($node, 'postgres', "SELECT differences = 0 $audited", 'and is done again');
is($node->safe_psql('postgres', q{SELECT verified_at IS NULL FROM evstore.projections WHERE name = 'ledger'}), 't', 'a statement is not audited');

done_testing();
