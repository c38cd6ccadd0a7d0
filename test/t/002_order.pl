# The safe position.  Positions are handed out before the commit, so events
# become visible in another order; a reader that asks for "everything after the
# last that I saw" must still get every committed event, once, in order.  And
# whoever holds the mark back can be seen, and lets it go however it ends.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

# Commits take their time, so that much can happen between handing out a
# position and its becoming visible.
my $node = start_node(
	'main', conf => q{
fsync = on
commit_delay = 1000
commit_siblings = 1
log_statement = none
track_commit_timestamp = on
autovacuum = off
});

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();
	SELECT evstore.create_event_table('audit');

	CREATE FUNCTION batch(n integer) RETURNS evstore.new_event[] LANGUAGE sql AS $$
		SELECT array_agg(ROW('Added', jsonb_build_object('n', g), NULL, NULL, NULL, NULL)::evstore.new_event)
		FROM generate_series(1, n) g
	$$;

	-- what the readers got, in the order in which they got it
	CREATE TABLE seen (turn bigserial, source regclass, round integer, "position" bigint, stream text, version bigint);
	CREATE TABLE writers_done (at timestamptz);

	-- read after the last position seen, until the writers are done and nothing more comes
	CREATE PROCEDURE follow(source regclass, chunk bigint) LANGUAGE plpgsql AS $$
	DECLARE
		last_seen bigint := 0;
		round integer := 0;
		last_round boolean;
		got bigint;
	BEGIN
		LOOP
			last_round := EXISTS (SELECT FROM writers_done);
			COMMIT;
			INSERT INTO seen (source, round, "position", stream, version)
				SELECT source, round, e."position", e.stream, e.version
				FROM evstore.read_events(last_seen, chunk, event_table => source) e;
			GET DIAGNOSTICS got = ROW_COUNT;
			COMMIT;
			EXIT WHEN got = 0 AND last_round;
			last_seen := greatest(last_seen, (SELECT max(s."position") FROM seen s WHERE s.source = follow.source));
			round := round + 1;
		END LOOP;
	END
	$$;});

my @readers = map { $node->background_psql('postgres') } 1 .. 2;
$readers[0]->query_until(qr/reading/, "\\echo reading\nCALL follow('events', NULL);\n");
$readers[1]->query_until(qr/reading/, "\\echo reading\nCALL follow('audit', 50);\n");

# A dozen writers; a fifth of the transactions roll back at the end.
my $fate = '\set fate random(1, 5)';
my $end = "\\if :fate = 1\nROLLBACK;\n\\else\nCOMMIT;\n\\endif\n";
$node->pgbench(
	'-n -c 12 -j 2 -t 150 --max-tries=1000',
	0,
	[qr/number of failed transactions: 0 /],
	[qr/^$/],
	'twelve writers append, insert, copy and roll back',
	{
		'append@4' => qq{
\\set n random(1, 12)
\\set s random(1, 20)
$fate
BEGIN;
SELECT evstore.append('order-' || :s, batch(:n));
$end},
		'two_streams@2' => qq{
\\set n random(1, 4)
\\set s random(1, 20)
$fate
BEGIN;
SELECT evstore.append('order-' || :s, batch(:n));
SELECT evstore.append('order-' || :s + 20, batch(:n));
$end},
		'savepoint@2' => qq{
\\set n random(1, 4)
\\set s random(1, 20)
$fate
BEGIN;
SAVEPOINT one;
SELECT evstore.append('order-' || :s, batch(:n));
ROLLBACK TO SAVEPOINT one;
SELECT evstore.append('order-' || :s, batch(:n));
SAVEPOINT two;
SELECT evstore.append('order-' || :s + 20, batch(:n));
RELEASE SAVEPOINT two;
SAVEPOINT three;
SELECT evstore.append('order-' || :s + 40, batch(:n));
ROLLBACK TO SAVEPOINT three;
$end},
		'insert@1' => qq{
\\set s random(1, 20)
$fate
BEGIN;
INSERT INTO events (stream, type, data)
	SELECT 'order-' || :s + g % 2, 'Added', '{}' FROM generate_series(1, 5) g;
$end},
		# two batches, the second of which knows the first's stream
		'copy@1' => qq{
\\set s random(10, 20)
$fate
BEGIN;
COPY events (stream, type, data) FROM PROGRAM 'seq 70 | sed "s/.*/order-:s Added &/"; seq 30 | sed "s/.*/order-:s-too Added &/"' (DELIMITER ' ');
$end},
		'other_table@2' => qq{
\\set n random(1, 4)
\\set s random(1, 20)
$fate
BEGIN;
SELECT evstore.append('entry-' || :s, batch(:n), event_table => 'audit');
SELECT evstore.append('order-' || :s, batch(:n));
$end}
	});
$node->safe_psql('postgres', 'INSERT INTO writers_done VALUES (now())');
$_->query_safe('SELECT 1') for @readers;
$_->quit for @readers;

my $committed_late = q{
	SELECT count(*) > 0 FROM (
		SELECT pg_xact_commit_timestamp(xmin) AS at,
			max(pg_xact_commit_timestamp(xmin)) OVER (
				ORDER BY "position" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS latest_before
		FROM events) e
	WHERE at < latest_before};
is($node->safe_psql('postgres', $committed_late),
	't', 'the test is worth something: transactions committed in another order than their positions');

for my $table ('events', 'audit')
{
	my $seen = qq{SELECT "position", stream, version FROM seen WHERE source = '$table'::regclass};
	my $stored = qq{SELECT "position", stream, version FROM $table};

	is( $node->safe_psql('postgres', "SELECT count(*) FROM (($stored) EXCEPT ALL ($seen)) missed"),
		'0', "$table: the reader missed none");
	is( $node->safe_psql('postgres', "SELECT count(*) FROM (($seen) EXCEPT ALL ($stored)) surplus"),
		'0', "$table: the reader got none twice, and none that was rolled back");
	is( $node->safe_psql(
			'postgres', qq{
			SELECT count(*) FROM (
				SELECT "position", lag("position") OVER (ORDER BY turn) AS before
				FROM seen WHERE source = '$table'::regclass) s
			WHERE "position" <= before}),
		'0', "$table: the reader got them in ascending order");
	is( $node->safe_psql('postgres', "SELECT count(DISTINCT round) > 20 FROM seen WHERE source = '$table'::regclass"),
		't', "$table: the reader read while the writers wrote");
	is( $node->safe_psql(
			'postgres', qq{
			SELECT count(*) FROM (
				SELECT version, row_number() OVER (PARTITION BY stream ORDER BY "position") AS rank
				FROM $table) e
			WHERE version <> rank}),
		'0', "$table: in each stream the versions have no hole and follow the positions");
}
is( $node->safe_psql(
		'postgres', 'SELECT count(*) - count(DISTINCT "position") FROM (
			SELECT "position" FROM events UNION ALL SELECT "position" FROM audit) e'),
	'0', 'no position is used twice, in whatever table');

# Who holds the mark back, and how it is released.
$node->safe_psql(
	'postgres', q{
	SELECT evstore.create_projection('added', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream')});

my @ways = (
	[ 'COMMIT' => q{SELECT "position" FROM evstore.append('held', batch(3))} ],
	[ 'ROLLBACK' => q{SELECT "position" FROM evstore.append('held', batch(3))} ],
	[   'COMMIT' => q{SAVEPOINT one; SELECT "position" FROM evstore.append('held', batch(3)); ROLLBACK TO SAVEPOINT one;} ],
	[   'ROLLBACK' => q{SAVEPOINT one; SELECT "position" FROM evstore.append('held', batch(3)); RELEASE SAVEPOINT one;} ],
	[ 'terminate' => q{SELECT "position" FROM evstore.append('held', batch(3))} ]);
for my $way (@ways)
{
	my ($end, $sql) = @$way;
	my $case = ($sql =~ /(ROLLBACK TO|RELEASE)/ ? "$1 SAVEPOINT, then " : '') . $end;
	my $holder = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $holder->query_safe('SELECT pg_backend_pid()');
	my $lowest = $holder->query_safe("BEGIN; $sql") - 2;
	my $other = $node->safe_psql('postgres', q{SELECT "position" FROM evstore.append('other', 'Added', '{}')});

	cmp_ok($other, '>', $lowest, "$case: another transaction commits a higher position");
	is( $node->safe_psql(
			'postgres', q{
			SELECT pid, lowest_position, since BETWEEN xact_start AND clock_timestamp()
			FROM evstore.appenders JOIN pg_stat_activity USING (pid)}),
		"$pid|$lowest|t",
		"$case: evstore.appenders names the open transaction, its lowest position and its time");
	is($node->safe_psql('postgres', 'SELECT head FROM evstore.projections'),
		$lowest - 1, "$case: the mark stays below its lowest position");
	is($node->safe_psql('postgres', "SELECT count(*) FROM evstore.read_events($lowest - 1)"),
		'0', "$case: read_events waits for it");
	is($node->safe_psql('postgres', "SELECT evstore.wait_for('added', $other, '100 ms')"),
		'f', "$case: so does a projection");

	if ($end eq 'terminate')
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 60000)");
	}
	else
	{
		$holder->query_safe($end);
	}
	is($node->safe_psql('postgres', 'SELECT count(*) FROM evstore.appenders'),
		'0', "$case: afterwards nobody holds it");
	is($node->safe_psql('postgres', "SELECT max(\"position\") FROM evstore.read_events($lowest - 1)"),
		$other, "$case: read_events goes on");
	is($node->safe_psql('postgres', "SELECT evstore.wait_for('added', $other)"),
		't', "$case: the projection goes on");
	eval { $holder->quit };
}
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM (
			(SELECT stream, n FROM added EXCEPT ALL SELECT stream, count(*) FROM events GROUP BY stream)
			UNION ALL
			(SELECT stream, count(*) FROM events GROUP BY stream EXCEPT ALL SELECT stream, n FROM added)) d}),
	'0', 'the projection equals its query');

# A reader whose snapshot is older than the mark could miss events, so it is refused.
fails_with($node, 'postgres', "BEGIN ISOLATION LEVEL $_; SELECT evstore.read_events()", '25001',
	"read_events is refused under $_")
  for ('REPEATABLE READ', 'SERIALIZABLE');

done_testing();
