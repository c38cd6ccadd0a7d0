# Whatever process of evstore dies, and when: the read tables come out equal to
# the recomputed query, with no event applied twice and none missed.

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
});
# Small batches, so that there are many borders between them.
make_store($node, 'postgres', batch_size => 50);
sell($node, 'postgres', 100);
follows($node, 'postgres', 'at first the projections follow');

my $script = $node->basedir . '/load';
append_to_file($script, "SELECT sell(20);\n");
my @load = (
	'pgbench', '-n', '-c', '3', '-R', '200',
	'-T', $PostgreSQL::Test::Utils::timeout_default,
	'-f', $script, $node->connstr('postgres'));

# Do something to the server while sessions append; it may cut them off.
sub under_load
{
	my ($what, $do) = @_;
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM events');
	my ($out, $err) = ('', '');
	my $pgbench = IPC::Run::start(\@load, '>', \$out, '2>', \$err);

	$node->poll_query_until('postgres', "SELECT count(*) > $before + 200 FROM events");
	$do->();
	$pgbench->kill_kill;
	$node->poll_query_until('postgres', 'SELECT true');
	sell($node, 'postgres', 1);
	follows($node, 'postgres', "$what: nothing missed, nothing twice");
	eventually($node, 'postgres', process_count($_), "$what: there is one $_", '1')
	  for ('launcher', 'manager');
}

# A session that keeps a worker waiting inside its batch, where it would write
# to the table, and the worker's pid.
sub hold_batch
{
	my ($table) = @_;
	my $holder = $node->background_psql('postgres', on_error_stop => 0);
	my $inside = q{FROM pg_stat_activity WHERE backend_type = 'evstore worker' AND wait_event_type = 'Lock'};

	$holder->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE");
	$node->poll_query_until('postgres', "SELECT count(*) > 0 $inside")
	  or die "no worker came to its batch\n";
	return ($holder, $node->safe_psql('postgres', "SELECT min(pid) $inside"));
}

# Signal 9 makes the postmaster end every session and start all processes anew.
sub kill_process
{
	my ($what, $pid) = @_;

	kill 9, $pid;
	$node->wait_for_log(qr/PID $pid\) was terminated by signal 9/);
	eventually($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid",
		"$what: the server comes back");
}

sub terminate_process
{
	my ($what, $pid) = @_;

	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)"),
		't', "$what: it goes at once");
}

my %signals = ('kill -9' => \&kill_process, 'termination' => \&terminate_process);
for my $signal ('kill -9', 'termination')
{
	for my $kind ('worker', 'manager', 'launcher')
	{
		my $what = "$signal of the $kind";
		under_load($what, sub { $signals{$signal}->($what, process_pid($node, $kind)) });
	}
	# Inside its batch: before the events are applied, and before the checkpoint is moved.
	for my $table ('ledger', 'evstore._checkpoint')
	{
		my $what = "$signal of a worker that would write to $table";
		under_load(
			$what,
			sub {
				my ($holder, $pid) = hold_batch($table);

				$signals{$signal}->($what, $pid);
				eval { $holder->quit };
			});
	}
}

under_load(
	'kill -9 of the postmaster',
	sub {
		ok(kill_postmaster($node), 'kill -9 of the postmaster: every process goes by itself');
		$node->start;
	});
under_load('kill -9 of every process', sub { kill_server($node); $node->start });
under_load('restart', sub { $node->restart });

# A worker that is not needed any more leaves its batch to another, which sleeps by then: it is woken.
$node->safe_psql('postgres', q{SELECT evstore.pause_projection('ledger')});
sell($node, 'postgres', 1);
$node->safe_psql('postgres', q{SELECT evstore.wait_for('sales')});
my $sales = $node->background_psql('postgres');
my $ledger = $node->background_psql('postgres');
my $held = q{SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '%s'::regclass};
$sales->query_safe('BEGIN; LOCK TABLE sales IN SHARE MODE');
$ledger->query_safe('BEGIN; LOCK TABLE ledger IN SHARE MODE');
sell($node, 'postgres', 1);
eventually($node, 'postgres', sprintf($held, 'sales'), 'one worker has a batch of sales', '1');
$node->safe_psql('postgres', q{SELECT evstore.resume_projection('ledger')});
eventually($node, 'postgres', sprintf($held, 'ledger'), 'another has one of ledger', '1');
$sales->query_safe('COMMIT');
eventually($node, 'postgres', q{SELECT lag_events FROM evstore.projections WHERE name = 'sales'}, 'the first is done, and sleeps', '0');
# It ends only when the other has looked and found nothing to do.
my ($pid, $dropped) = split /\|/, $node->safe_psql('postgres', q{SELECT pid, clock_timestamp() FROM pg_locks WHERE NOT granted AND relation = 'ledger'::regclass});
kill 'STOP', $pid;
$node->safe_psql('postgres', q{SELECT evstore.drop_projection('sales')});
eventually($node, 'postgres', qq{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'evstore worker' AND pid <> $pid
	AND state = 'idle' AND query_start > '$dropped'}, 'the first has looked around', '1');
kill 'CONT', $pid;
eventually($node, 'postgres', process_count('worker', 'postgres'), 'there is one worker less', '1');
$ledger->query_safe('COMMIT');
my $since = time;
eventually($node, 'postgres', q{SELECT lag_events FROM evstore.projections WHERE name = 'ledger'}, 'the batch is applied', '0');
cmp_ok(time - $since, '<', 5, 'and not only when a worker looks around by itself');
$_->quit for ($sales, $ledger);

done_testing();
