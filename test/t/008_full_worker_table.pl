# A worker table too small for what evstore wants to start: the log says so and
# names max_worker_processes, appends go on, and so does the work as soon as
# there is room.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

my $warning = qr/WARNING:  could not start (?:.*\n){1,2}.*HINT:  .*max_worker_processes/;

my $node = start_node(
	'main', conf => q{
max_worker_processes = 1
max_logical_replication_workers = 0
evstore.workers = 1
});
$node->safe_psql('postgres', 'CREATE DATABASE first');
make_store($node, 'first');

# One place: the launcher's.  Two: no worker.  Three: enough for one database.
my $log = 0;
for my $places (1, 2, 3)
{
	if ($places > 1)
	{
		$log = -s $node->logfile;
		$node->adjust_conf('postgresql.conf', 'max_worker_processes', $places);
		$node->restart;
	}
	sell($node, 'first', 10);
	if ($places < 3)
	{
		ok($node->wait_for_log($warning, $log), "places $places: the log names max_worker_processes");
		is($node->safe_psql('first', q{SELECT evstore.wait_for('sales', timeout => '100 ms')}),
			'f', "places $places: nothing is projected yet");
	}
	else
	{
		follows($node, 'first', "places $places: the work goes on");
	}
}

# Room comes while the server runs: the first database goes, the second's turn comes.
$log = -s $node->logfile;
$node->safe_psql('postgres', 'CREATE DATABASE second');
make_store($node, 'second');
sell($node, 'second', 10);
ok($node->wait_for_log($warning, $log), 'a second database: the log names max_worker_processes');
$node->safe_psql('postgres', 'DROP DATABASE first');
follows($node, 'second', 'when the first database is dropped, the work of the second goes on');

done_testing();
