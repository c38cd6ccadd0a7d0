# A database that cannot be connected to (ALLOW_CONNECTIONS false) may still
# have sessions that append.  Its slot in shared memory is given to no other
# database until it is dropped: nobody's positions, appenders and safe position
# are mixed with its own, and when it is opened again its projections go on.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

my $node = start_node(
	'main', conf => q{
max_worker_processes = 20
autovacuum = off
evstore.max_databases = 3
});

# A new database, which the launcher has looked at: it has a manager.
sub make_database
{
	my ($db) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION evstore');
	process_pid($node, 'manager', $db);
	make_store($node, $db);
}

# A session appends in a database that is closed behind it.
make_database('closed');
my $session = $node->background_psql('closed');
$session->query_safe('BEGIN');
my $first = $session->query_safe('SELECT sell(1)');
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');

# When there is a second database, the launcher knows that the first is closed
# and does not start the manager again that is ended now; when there is a
# third, it has had every reason to give the slot away.
make_database('second');
my $manager = process_pid($node, 'manager', 'closed');
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($manager, 60000)"), 't', 'the manager of the closed database ends');
make_database('third');
is($node->safe_psql('postgres', process_count('manager', 'closed')), '0', 'and is not started again');

# All slots are taken, as one more database finds out.
my $append = q{SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}')};
$node->safe_psql('postgres', 'CREATE DATABASE fourth');
$node->safe_psql('fourth', 'CREATE EXTENSION evstore; SELECT evstore.create_event_table()');
fails_with($node, 'fourth', $append, '53400', 'no database is given the slot of the closed one',
	qr/too many databases use evstore.*This server has room for 3\..*Raise evstore\.max_databases/s);

# What the open transaction holds back is the closed database's alone.
for my $db ('second', 'third')
{
	follows($node, $db, "$db: the projections go on", 20);
	is($node->safe_psql($db, 'SELECT count(*) FROM evstore.appenders'), '0', "$db: shows no appender of another database");
}
my $third = sell($node, 'third', 1);
is($session->query_safe('SELECT sell(1)'), $first + 1, 'the session in the closed database appends on, from where it was');
is(sell($node, 'third', 1), $third + 1, 'and moves no positions but its own');
$session->query_safe('COMMIT');
$session->query_safe("SELECT sell(3)");
is($session->query_safe('SELECT count(*), max("position") FROM evstore.read_events()'), '5|' . ($first + 4),
	'the session reads what it committed');
$session->quit;

# Opened again; dropping another has the launcher look, and makes room.
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS true');
$node->safe_psql('postgres', 'DROP DATABASE second');
follows($node, 'closed', 'opened again: the projections go on', 5);
is(sell($node, 'closed', 1), $first + 10, 'opened again: so do the positions');
ok($node->poll_query_until('fourth', $append, '1'), 'the slot of a database that was dropped is free');

done_testing();
