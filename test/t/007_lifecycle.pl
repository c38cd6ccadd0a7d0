# The lifecycle matrix: CREATE EXTENSION, DROP EXTENSION, DROP DATABASE, ALTER
# DATABASE RENAME, ALTER DATABASE SET TABLESPACE, CREATE DATABASE TEMPLATE,
# each when it commits and when it fails, sent from a database with the
# extension and from one without.  In every cell
#   the command is done at once: core waits five seconds for other sessions of
#     a database, and evstore's processes must not be what it waits for;
#   afterwards there is a manager in exactly the databases that have the extension;
#   in each of them the projections go on, exactly;
#   then all processes sleep.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;
use Time::HiRes qw(time);

# Seconds that a command may take; five would mean that core had waited in vain.
my $at_once = 3;

# Every database gets its manager and two workers.
my $node = start_node(
	'main', conf => q{
max_worker_processes = 40
autovacuum = off
log_statement = ddl
});
$node->safe_psql(
	'postgres', q{
	SET allow_in_place_tablespaces = on;
	CREATE TABLESPACE elsewhere LOCATION '';
	CREATE DATABASE hub;
	CREATE DATABASE shop;
	CREATE DATABASE second});
make_store($node, 'hub');

# The command works, and does not take long.
sub works
{
	my ($from, $sql, $cell) = @_;
	my $began = time;
	my ($rc, undef, $err) = $node->psql($from, $sql);
	my $seconds = time - $began;

	is($rc, 0, "$cell: works") or diag $err;
	cmp_ok($seconds, '<', $at_once, "$cell: at once");
}

# The command fails as it would without evstore, and does not take long.
sub fails
{
	my ($from, $sql, $sqlstate, $cell) = @_;
	my $began = time;

	fails_with($node, $from, $sql, $sqlstate, "$cell: fails");
	cmp_ok(time - $began, '<', $at_once, "$cell: at once");
}

# There is a manager in these databases and in no other, their projections go
# on, and when there is nothing left to do, nobody turns in circles.
sub lives_in
{
	my ($cell, @databases) = @_;

	eventually(
		$node, 'postgres',
		q{SELECT string_agg(coalesce(datname, 'a dropped database'), ' ' ORDER BY datname)
			FROM pg_stat_activity WHERE backend_type = 'evstore manager'},
		"$cell: managers where they should be", join(' ', sort @databases))
	  or die "every later cell would fail with this one\n";
	follows($node, $_, "$cell: the projections of $_ go on", 3) for @databases;
	eventually(
		$node, 'postgres',
		q{SELECT count(*) FROM pg_stat_activity
			WHERE backend_type LIKE 'evstore %' AND wait_event_type IS DISTINCT FROM 'Extension'},
		"$cell: all processes sleep", '0');
}

# CREATE EXTENSION.  The second database's manager shows that the launcher has
# looked since the rollback in the first.
works('shop', 'BEGIN; CREATE EXTENSION evstore; ROLLBACK', 'CREATE EXTENSION, rolled back');
make_store($node, 'second');
lives_in('CREATE EXTENSION, rolled back', 'hub', 'second');
works('shop', 'BEGIN; CREATE EXTENSION evstore; COMMIT', 'CREATE EXTENSION');
works('shop', 'BEGIN; DROP EXTENSION evstore; COMMIT', 'DROP EXTENSION');
make_store($node, 'shop');
lives_in('CREATE EXTENSION', 'hub', 'second', 'shop');

# DROP EXTENSION, with everything that hangs on it.
my $drop = q{
	SET LOCAL evstore.maintenance = on;
	SELECT evstore.drop_projection(name) FROM evstore.projections;
	SELECT evstore.drop_event_table('events');
	DROP FUNCTION sell;
	DROP TABLE ledger;
	DROP EXTENSION evstore};
works('second', "BEGIN; $drop; ROLLBACK", 'DROP EXTENSION, rolled back');
lives_in('DROP EXTENSION, rolled back', 'hub', 'second', 'shop');
works('second', "BEGIN; $drop; CREATE EXTENSION evstore; ROLLBACK", 'DROP and CREATE EXTENSION, rolled back');
lives_in('DROP and CREATE EXTENSION, rolled back', 'hub', 'second', 'shop');
works('second', "BEGIN; $drop; COMMIT", 'DROP EXTENSION');
lives_in('DROP EXTENSION', 'hub', 'shop');
make_store($node, 'second');
lives_in('CREATE EXTENSION after DROP EXTENSION', 'hub', 'second', 'shop');
works('second', "BEGIN; $drop; CREATE EXTENSION evstore; COMMIT", 'DROP and CREATE EXTENSION');
make_store($node, 'second');
lives_in('DROP and CREATE EXTENSION', 'hub', 'second', 'shop');
# Workers that learnt as they began how far the old extension had come, and
# find projections in the new one.
sell($node, 'second', 100);
$node->safe_psql(
	'second', q{
	SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
	WHERE backend_type = 'evstore worker' AND datname = 'second'});
follows($node, 'second', 'DROP and CREATE EXTENSION, with projections: new workers before', 1);
make_store($node, 'second', in_place_of => $drop);
lives_in('DROP and CREATE EXTENSION, with projections', 'hub', 'second', 'shop');
# The manager that has found the old extension, and waits to see what becomes
# of it, must not be the last word on the new one.
my $dropper = $node->background_psql('second');
$dropper->query_safe("BEGIN; $drop; CREATE EXTENSION evstore");
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . process_pid($node, 'manager', 'second') . ', 10000)');
eventually(
	$node, 'postgres',
	q{SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'evstore manager' AND datname = 'second' AND wait_event_type = 'Lock'},
	'DROP and CREATE EXTENSION, while a manager starts: it waits', '1');
$dropper->query_safe('COMMIT');
$dropper->quit;
make_store($node, 'second');
lives_in('DROP and CREATE EXTENSION, while a manager starts', 'hub', 'second', 'shop');

works('second', "BEGIN; $drop; COMMIT; CREATE EXTENSION evstore", 'DROP EXTENSION, then CREATE EXTENSION');
process_pid($node, 'manager', 'second');
works('second', 'SET evstore.maintenance = on; DROP SCHEMA evstore CASCADE', 'DROP SCHEMA evstore CASCADE');
lives_in('DROP SCHEMA evstore CASCADE', 'hub', 'shop');

# The commands on a whole database cannot be in a transaction block.  They fail
# at once for a reason of their own, or while core waits for a foreign session.
my %failing = (
	'DROP DATABASE' => [
		[ 'DROP DATABASE shop', '42501', 'SET ROLE nobody' ],
		[ 'DROP DATABASE shop', '25001', 'BEGIN' ],
		[ 'DROP DATABASE shop', '57014', 'foreign session' ] ],
	'RENAME' => [
		[ 'ALTER DATABASE shop RENAME TO hub', '42P04', '' ],
		[ 'ALTER DATABASE shop RENAME TO store', '57014', 'foreign session' ] ],
	'SET TABLESPACE' => [
		[ 'ALTER DATABASE shop SET TABLESPACE nowhere', '42704', '' ],
		[ 'ALTER DATABASE shop SET TABLESPACE elsewhere', '57014', 'foreign session' ] ],
	'CREATE DATABASE TEMPLATE' => [
		[ 'CREATE DATABASE hub TEMPLATE shop', '42P04', '' ],
		[ 'CREATE DATABASE copy TEMPLATE shop', '57014', 'foreign session' ] ]);
$node->safe_psql('postgres', 'CREATE ROLE nobody');
my $foreign = $node->background_psql('shop');
for my $command (sort keys %failing)
{
	for my $variant (@{ $failing{$command} })
	{
		my ($sql, $sqlstate, $circumstance) = @$variant;

		for my $from ('postgres', 'hub')
		{
			my $cell = "$command, from $from, " . ($circumstance || 'refused');
			my $before = $circumstance eq 'foreign session' ? q{SET statement_timeout = '300ms'} : $circumstance;

			my $manager = process_pid($node, 'manager', 'shop');

			fails($from, "$before;\n$sql", $sqlstate, $cell);
			is(process_pid($node, 'manager', 'shop'), $manager, "$cell: disturbs nobody")
			  if $sqlstate eq '42501';
			lives_in($cell, 'hub', 'shop');
		}
	}
}

# The session that waits is terminated.
my $waiter = $node->background_psql('hub', on_error_stop => 0);
my $waiter_pid = $waiter->query_safe('SELECT pg_backend_pid()');
$waiter->query_until(qr/dropping/, "\\echo dropping\nDROP DATABASE shop;\n");
$node->poll_query_until('postgres',
	"SELECT state = 'active' AND query ~ '^DROP' FROM pg_stat_activity WHERE pid = $waiter_pid");
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($waiter_pid, 10000)"),
	't', 'DROP DATABASE, session terminated: it goes');
eval { $waiter->quit };
lives_in('DROP DATABASE, session terminated', 'hub', 'shop');
$foreign->quit;

# The same commands, when they commit.
works('postgres', 'ALTER DATABASE shop RENAME TO store', 'RENAME, from postgres');
lives_in('RENAME, from postgres', 'hub', 'store');
works('hub', 'ALTER DATABASE store RENAME TO shop', 'RENAME, from hub');
lives_in('RENAME, from hub', 'hub', 'shop');

works('postgres', 'ALTER DATABASE shop SET TABLESPACE elsewhere', 'SET TABLESPACE, from postgres');
lives_in('SET TABLESPACE, from postgres', 'hub', 'shop');
works('hub', 'ALTER DATABASE shop SET TABLESPACE pg_default', 'SET TABLESPACE, from hub');
lives_in('SET TABLESPACE, from hub', 'hub', 'shop');

works('postgres', 'CREATE DATABASE copy1 TEMPLATE shop', 'CREATE DATABASE TEMPLATE, from postgres');
lives_in('CREATE DATABASE TEMPLATE, from postgres', 'hub', 'shop', 'copy1');
works('hub', 'CREATE DATABASE copy2 TEMPLATE shop STRATEGY file_copy', 'CREATE DATABASE TEMPLATE, from hub');
lives_in('CREATE DATABASE TEMPLATE, from hub', 'hub', 'shop', 'copy1', 'copy2');
works('hub', 'CREATE DATABASE copy3 TEMPLATE hub', 'CREATE DATABASE TEMPLATE, of the own database');
lives_in('CREATE DATABASE TEMPLATE, of the own database', 'hub', 'shop', 'copy1', 'copy2', 'copy3');

works('postgres', 'DROP DATABASE copy1', 'DROP DATABASE, from postgres');
lives_in('DROP DATABASE, from postgres', 'hub', 'shop', 'copy2', 'copy3');
works('hub', 'DROP DATABASE copy2', 'DROP DATABASE, from hub');
lives_in('DROP DATABASE, from hub', 'hub', 'shop', 'copy3');

# A database that goes before the launcher has looked at it, with the extension
# or without; and one that goes in the moment when its manager appears.
my $appears = q{
	DO $$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'brief') LOOP
			PERFORM pg_stat_clear_snapshot();
		END LOOP;
	END
	$$};
works('postgres', "CREATE DATABASE brief TEMPLATE $_;\nDROP DATABASE brief;\n" x 2,
	"CREATE and DROP DATABASE, from $_")
  for ('shop', 'template1');
works('postgres', "CREATE DATABASE brief TEMPLATE shop;\n$appears;\nDROP DATABASE brief;\n" x 2,
	'CREATE and DROP DATABASE, as its manager appears');
lives_in('CREATE and DROP DATABASE', 'hub', 'shop', 'copy3');

# A worker in the middle of a long batch does not delay it either.
$node->safe_psql(
	'copy3', q{
	SELECT evstore.create_projection('slow', statement => $$
		INSERT INTO ledger SELECT 0 FROM new_events, pg_sleep(600) $$)});
$node->poll_query_until('postgres',
	q{SELECT count(*) > 0 FROM pg_stat_activity
		WHERE backend_type = 'evstore worker' AND datname = 'copy3' AND wait_event = 'PgSleep'});
works('postgres', 'DROP DATABASE copy3', 'DROP DATABASE, a worker inside its batch');
lives_in('DROP DATABASE, a worker inside its batch', 'hub', 'shop');

# WITH (FORCE) also ends the foreign sessions.
for my $from ('postgres', 'hub')
{
	$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
	lives_in("DROP DATABASE WITH (FORCE), from $from, before", 'hub', 'shop', 'copy');
	my $session = $node->background_psql('copy');

	works($from, 'DROP DATABASE copy WITH (FORCE)', "DROP DATABASE WITH (FORCE), from $from");
	eval { $session->quit };
	lives_in("DROP DATABASE WITH (FORCE), from $from", 'hub', 'shop');
}

# The extension in template1, the template that nobody names.  A template gets
# no processes, and its children get theirs.
make_store($node, 'template1');
sell($node, 'template1', 3);
works('postgres', 'CREATE DATABASE child', 'CREATE DATABASE from template1');
lives_in('CREATE DATABASE from template1', 'hub', 'shop', 'child');
works('template1', "BEGIN; $drop; COMMIT", 'DROP EXTENSION in template1');
works('hub', 'DROP DATABASE child', 'DROP DATABASE of the child');
works('hub', 'CREATE DATABASE child', 'CREATE DATABASE from template1 without the extension');
lives_in('template1 without the extension', 'hub', 'shop');

done_testing();
