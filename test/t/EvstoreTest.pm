# What the process tests share: a server that preloads evstore, a small store
# with two projections in it, and the questions that every test asks.
#
# The store has an event table "events" and
#   sales   a query projection: number and sum of the sales by region
#   ledger  a statement projection that adds one row an event to a table
#           without any key, so that an event applied twice stands there twice
#
# A test waits for conditions only.  What waits in SQL is bounded by
# statement_timeout, what waits here by poll_query_until: a server that hangs
# makes a test fail, not hang.

package EvstoreTest;

use strict;
use warnings;

# Find the test library and the programs of the server that pg_config names.
# PG_REGRESS is how the library configures authentication.
BEGIN
{
	my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
	chomp(my $bindir = `$pg_config --bindir`);
	chomp(my $pgxs = `$pg_config --pgxs`);
	die "could not run \"$pg_config\"\n" unless $bindir && $pgxs;

	(my $tests = $pgxs) =~ s{/makefiles/pgxs\.mk$}{/test};
	$ENV{PATH} = "$bindir:$ENV{PATH}";
	$ENV{PG_REGRESS} ||= "$tests/regress/pg_regress";
	push @INC, "$tests/perl";
}

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  start_node make_store sell follows
  fails_with eventually
  process_count process_pid
  kill_postmaster kill_server
  $sales_query
);

# What the tables of the two projections must be equal to.
our $sales_query = q{
	SELECT data->>'region' AS region, count(*) AS sales, sum((data->>'amount')::numeric) AS amount
	FROM events GROUP BY data->>'region'};
my $ledger_query = q{
	SELECT "position", stream, (data->>'amount')::numeric AS amount FROM events};

# Start a server that preloads evstore.
#   conf       more lines for postgresql.conf
#   streaming  true if a standby is to follow it
sub start_node
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	# Whatever the locale of whoever runs the tests.
	$node->init(allows_streaming => $params{streaming}, extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'evstore'");
	$node->append_conf('postgresql.conf',
		"statement_timeout = '${PostgreSQL::Test::Utils::timeout_default}s'");
	$node->append_conf('postgresql.conf', $params{conf}) if defined $params{conf};
	$node->start;
	return $node;
}

# Make the store in a database that exists, with or without the extension.
#   batch_size   of both projections, in place of the default
#   in_place_of  SQL that makes room for it, in one transaction with it and a first event
sub make_store
{
	my ($node, $db, %params) = @_;
	my $batch_size = $params{batch_size} || 10000;

	$node->safe_psql(
		$db, ($params{in_place_of} ? "BEGIN; $params{in_place_of};" : '') . qq{
		CREATE EXTENSION IF NOT EXISTS evstore;
		SELECT evstore.create_event_table();
		CREATE TABLE ledger ("position" bigint, stream text, amount numeric);
		SELECT evstore.create_projection('sales', batch_size => $batch_size, query => \$\$ $sales_query \$\$);
		SELECT evstore.create_projection('ledger', batch_size => $batch_size, statement => \$\$
			INSERT INTO ledger ("position", stream, amount)
			SELECT "position", stream, (data->>'amount')::numeric FROM new_events \$\$);

		CREATE FUNCTION sell(n integer) RETURNS bigint LANGUAGE sql AS \$\$
			SELECT max(a."position") FROM generate_series(1, n) g, LATERAL evstore.append(
				'sale-' || g % 10, 'Sold',
				jsonb_build_object('region', 'region ' || g % 3, 'amount', g)) a
		\$\$;} . ($params{in_place_of} ? 'SELECT sell(1); COMMIT' : ''));
	return;
}

# Append n events to the store and give back the position of the last.
sub sell
{
	my ($node, $db, $n) = @_;
	return $node->safe_psql($db, "SELECT sell($n)");
}

# SQL for the rows that a projection's table has too many or too few.
sub _differences
{
	my ($table, $columns, $query) = @_;
	my $kept = "SELECT $columns FROM $table";

	return qq{
		SELECT '$table has ' || r::text AS difference FROM (($kept) EXCEPT ALL ($query)) r
		UNION ALL
		SELECT '$table lacks ' || r::text FROM (($query) EXCEPT ALL ($kept)) r};
}

# The store's projections catch up with the last event, and then every row of
# their tables is what the query over the whole log gives: once, and no other.
# If a number is given, so many events are appended first.
sub follows
{
	my ($node, $db, $test_name, $n) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my $differences = join ' UNION ALL ',
	  _differences('sales', 'region, sales, amount', $sales_query),
	  _differences('ledger', '"position", stream, amount', $ledger_query);
	my ($rc, $out, $err) = $node->psql(
		$db, ($n ? "DO 'BEGIN PERFORM sell($n); END'" : '') . qq{;
		SELECT evstore.wait_for('sales') AND evstore.wait_for('ledger');
		SELECT count(*) > 0 FROM events;
		SELECT difference FROM ($differences) d ORDER BY 1 LIMIT 20;});
	my $right = is("$out$err", "t\nt", $test_name);

	diag $node->safe_psql($db,
		'SELECT name, state, "position", head, failures, last_error FROM evstore.projections')
	  if $rc == 0 && !$right;
	return $right;
}

# The SQL fails with this SQLSTATE, and says (DETAIL and HINT included) something that matches.
sub fails_with
{
	my ($node, $db, $sql, $sqlstate, $test_name, $pattern) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my (undef, undef, $err) =
	  $node->psql($db, $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	$pattern = qr// unless defined $pattern;
	return like($err, qr/(?:ERROR|FATAL):  \Q$sqlstate\E: .*$pattern/s, $test_name);
}

# The query comes to give the expected answer (t, if none is named).
sub eventually
{
	my ($node, $db, $query, $test_name, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok($node->poll_query_until($db, $query, $expected), $test_name);
}

# SQL over pg_stat_activity for the launcher, or the manager or the workers of a database.
sub _process_filter
{
	my ($kind, $db) = @_;
	return "FROM pg_stat_activity WHERE backend_type = 'evstore $kind'"
	  . (defined $db ? " AND datname = '$db'" : '');
}

# How many processes of that kind there are: SQL for eventually() and others.
sub process_count
{
	my ($kind, $db) = @_;
	return 'SELECT count(*) ' . _process_filter($kind, $db);
}

# Wait for a process of that kind and give back its pid.
sub process_pid
{
	my ($node, $kind, $db) = @_;

	$node->poll_query_until('postgres',
		'SELECT count(*) > 0 ' . _process_filter($kind, $db))
	  or die "no evstore $kind came\n";
	return $node->safe_psql('postgres',
		'SELECT min(pid) ' . _process_filter($kind, $db));
}

# The processes among these that still run; one that waits to be reaped does not.
sub _alive
{
	my %asked = map { $_ => 1 } @_;
	return grep { $_ } map {
		my ($pid, undef, $state) = split;
		$asked{$pid} && $state !~ /^Z/ ? $pid : undef
	} `ps -A -o pid= -o ppid= -o stat=`;
}

# Kill the postmaster with signal 9, and its children too or not; then wait
# until all of them are gone, so that the server can be started again.
sub _kill9
{
	my ($node, $children_too) = @_;
	my $pidfile = $node->data_dir . '/postmaster.pid';
	my ($postmaster) = split /\n/, slurp_file($pidfile);

	# A postmaster that is stopped has no child but those that are counted now.
	kill 'STOP', $postmaster;
	my @children = map { my ($pid, $ppid) = split; $ppid == $postmaster ? $pid : () }
	  `ps -A -o pid= -o ppid= -o stat=`;

	$node->kill9;
	kill 9, @children if $children_too;

	my @left;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		@left = _alive($postmaster, @children) or last;
		usleep(100_000);
	}
	kill 9, @left;
	# Until somebody reaps the postmaster, its lock files look as if it still ran.
	unlink $pidfile, $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	return !@left;
}

# The postmaster dies, and every child notices by itself: true if they all did.
sub kill_postmaster
{
	my ($node) = @_;
	return _kill9($node, 0);
}

# Every process of the server dies in the same moment.
sub kill_server
{
	my ($node) = @_;
	return _kill9($node, 1);
}

1;
