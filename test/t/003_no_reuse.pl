# No position is handed out twice, whatever happens to the server.  With
# synchronous_commit = off a crash loses commits that were acknowledged; the
# positions that they had are lost with them, and must not come again: somebody
# has seen them.  (005_standby.pl asks the same of a promoted standby.)

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

# WAL is written late and by nobody else, so that a crash loses as much as it can.
my $node = start_node(
	'main', conf => q{
synchronous_commit = off
wal_writer_delay = 10s
full_page_writes = off
autovacuum = off
});
my @databases = ('postgres', 'second');

$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql(
	$_, q{
	SET synchronous_commit = on;
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();
	CREATE FUNCTION batch(n integer) RETURNS evstore.new_event[] LANGUAGE sql AS $$
		SELECT array_agg(ROW('Added', '{}', NULL, NULL, NULL, NULL)::evstore.new_event) FROM generate_series(1, n) g
	$$;}) for @databases;

my %highest = map { $_ => 0 } @databases;    # the highest position that a client has seen
my $lost = 0;                                # events that were acknowledged and are gone

my @sessions;

# Append a little in a session: committed, rolled back, and left open. True if the positions rose.
sub append_some
{
	my ($db) = @_;
	my $session = $node->background_psql($db, on_error_stop => 0);
	my $rose = 1;

	push @sessions, $session;
	for my $append (
		[ 1, q{SELECT "position" FROM evstore.append('a', batch(1))} ],
		[ 3, q{SELECT "position" FROM evstore.append('a', batch(3))} ],
		[ 2, q{BEGIN; SELECT "position" FROM evstore.append('b', batch(2)); ROLLBACK} ],
		[ 2, q{BEGIN; SELECT "position" FROM evstore.append('c', batch(2))} ])
	{
		my ($count, $sql) = @$append;
		my $last = $session->query_safe($sql);

		$rose = 0 unless $last - $count + 1 > $highest{$db};
		$highest{$db} = $last;
	}
	return $rose;
}

# How many events the database has.
sub stored
{
	my ($db) = @_;
	return $node->safe_psql($db, 'SELECT count(*) FROM events');
}

# Append until the next reservation is one that PostgreSQL must log anew.
sub use_up_reserve
{
	my ($db) = @_;
	$highest{$db} = $node->safe_psql(
		$db, q{
		SET synchronous_commit = on;
		DO $$
		DECLARE
			range bigint := (SELECT increment_by FROM pg_sequences
				WHERE schemaname = 'evstore' AND sequencename = 'position_sequence');
			reached bigint;
		BEGIN
			LOOP
				SELECT "position" INTO reached FROM evstore.append('filler', batch(1));
				PERFORM evstore.append('filler', batch((s.last_value + range - 1 - reached)::integer))
					FROM evstore.position_sequence s WHERE s.last_value + range - 1 > reached;
				COMMIT;
				EXIT WHEN (SELECT log_cnt FROM evstore.position_sequence) = 0;
			END LOOP;
		END
		$$;
		SELECT max("position") FROM events});
	return;
}

my $crash = sub { kill_server($node); $node->start };
my @turns = (
	[ 'kill -9' => $crash ],
	[ 'kill -9 with the reserve used up' => $crash, \&use_up_reserve ],
	[ 'an immediate stop' => sub { $node->stop('immediate'); $node->start } ],
	[ 'a restart' => sub { $node->restart } ],
	[ 'another kill -9' => $crash ]);
for my $turn (@turns)
{
	my ($what, $end, $prepare) = @$turn;

	if ($prepare)
	{
		$prepare->($_) for @databases;
	}
	my %rose = map { $_ => append_some($_) } @databases;
	my %before = map { $_ => stored($_) } @databases;
	$end->();
	eval { $_->quit } for splice @sessions;
	for my $db (@databases)
	{
		$lost += $before{$db} - stored($db);
		my $next = $node->safe_psql($db, q{SELECT "position" FROM evstore.append('d', 'Added', '{}')});

		ok($rose{$db}, "$db, before $what: positions rise");
		cmp_ok($next, '>', $highest{$db}, "$db, after $what: the next position is above all that were handed out");
		$highest{$db} = $next;
		is($node->safe_psql($db, 'SELECT max("position") FROM evstore.read_events()'),
			$next, "$db, after $what: the mark moves on");
	}
}
cmp_ok($lost, '>', 0, 'the test is worth something: commits were lost in the crashes');

done_testing();
