# Events with positions of their own, and the end of all positions.  A restore
# takes positions far beyond those that the sequence has reserved; whatever
# happens to the server, those handed out later lie above.  And where bigint
# ends, positions do: with an error, not with a negative one.

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
max_prepared_transactions = 3
log_statement = none
});
make_store($node, 'postgres');
$node->safe_psql('postgres', q{
	CREATE FUNCTION bring(stream text, at bigint, n bigint) RETURNS void LANGUAGE sql AS $$
		INSERT INTO events ("position", version, recorded_at, schema_version, stream, type, data)
		SELECT at + n - g, n - g + 1, now(), 1, stream, 'Sold', '{"region": "brought", "amount": 1}'
		FROM generate_series(1, n) g
	$$;});
my $last = sell($node, 'postgres', 10);

# Brought, and then something happens: what follows lies above, and everybody gets everything.
my %then = (
	'nothing' => sub { },
	'a restart' => sub { $node->restart },
	'a kill -9 after the commit' => sub { $node->safe_psql('postgres', 'SET synchronous_commit = on; CREATE TABLE flushed ()'); kill_server($node); $node->start },
	'a kill -9 that may have lost it' => sub { kill_server($node); $node->start });
for my $what (sort keys %then)
{
	my $at = $last + 7_000_000;
	(my $stream = "brought $what") =~ tr/ /-/;

	$node->safe_psql('postgres', "SELECT bring('$stream', $at, 5000)");
	$then{$what}->();
	my $kept = $node->safe_psql('postgres', "SELECT count(*) FROM events WHERE stream = '$stream'");
	like($kept, qr/^(0|5000)$/, "$what: all or nothing is there");
	is($kept, '5000', "$what: all is there") unless $what =~ /lost/;
	my $next = sell($node, 'postgres', 1);
	cmp_ok($next, '>', $kept ? $at + 4999 : $last, "$what: positions go on above");
	$last = $next;
	is($node->safe_psql('postgres', 'SELECT count(*) = (SELECT count(*) FROM events) FROM evstore.read_events()'),
		't', "$what: readers get every event");
	follows($node, 'postgres', "$what: the projections follow");
}

# A restore that is prepared does not keep others from appending, only from that table if it was empty.
$node->safe_psql('postgres', q{SELECT evstore.create_event_table('archive')});
my $at = $last + 50_000;
$node->safe_psql('postgres', "BEGIN; SELECT bring('prepared', $at, 100); PREPARE TRANSACTION 'brought'");
my $next = sell($node, 'postgres', 1);
cmp_ok($next, '>', $at + 99, 'prepared: others append above');
kill_server($node);
$node->start;
is($node->safe_psql('postgres', 'SELECT evstore._safe_position() < ' . $at), 't', 'prepared: the mark stays below, after a kill -9');
$node->safe_psql('postgres', q{COMMIT PREPARED 'brought'});
is($node->safe_psql('postgres', q{SELECT count(*) FROM evstore.read_events() WHERE stream = 'prepared'}), '100',
	'prepared: its events are read once it is committed');
$last = sell($node, 'postgres', 1);
cmp_ok($last, '>', $at + 99, 'prepared: positions go on above');
follows($node, 'postgres', 'prepared: the projections follow');

# Into an empty table, below what was handed out, in reverse.
$node->safe_psql('postgres', qq{
	INSERT INTO archive ("position", version, recorded_at, schema_version, stream, type, data)
	SELECT g, 100001 - g, now(), 1, 'many', 'Sold', '{}' FROM generate_series(100000, 1, -1) g});
is($node->safe_psql('postgres', q{SELECT count(*) FROM evstore.read_events(event_table => 'archive')}), '100000',
	'an empty table takes any position, in any order');

# A sequence that was moved backwards is put right.
$node->safe_psql('postgres', q{SELECT setval('evstore.position_sequence', 1)});
$next = $node->safe_psql('postgres', q{SELECT sell(1500); SELECT max("position") FROM events});
$next =~ s/.*\n//;
cmp_ok($next, '>', $last + 1499, 'a sequence that was moved backwards is passed over');
$node->restart;
cmp_ok(sell($node, 'postgres', 1), '>', $next, 'and stays so over a restart');
follows($node, 'postgres', 'the projections follow');

# The end. The last range is shorter than the others.
my $end = '9223372036854775807';
$node->safe_psql('postgres', "SELECT setval('evstore.position_sequence', $end - 3000)");
$node->restart;
my $reached = sell($node, 'postgres', 1000);
like($reached, qr/^92233720368547\d+$/, 'close to the end, positions are handed out');
is(sell($node, 'postgres', $end - $reached), $end, 'up to the very last');
my %refused = (
	'append' => q{SELECT evstore.append('over', 'Sold', '{}')},
	'append of many' => q{SELECT evstore.append('over', evstore.events('[{"type": "Sold", "data": {}}, {"type": "Sold", "data": {}}]'))},
	'INSERT' => q{INSERT INTO events (stream, type, data) VALUES ('over', 'Sold', '{}')});
for my $when ('then', 'after a restart')
{
	fails_with($node, 'postgres', $refused{$_}, '2200H', "$when $_ says that positions are used up",
		qr/DETAIL:  The last one, $end, is reserved/) for sort keys %refused;
	is($node->safe_psql('postgres', 'SELECT max("position"), min("position") > 0, evstore._safe_position() FROM events'),
		"$end|t|$end", "$when the last position is the last");
	is($node->safe_psql('postgres', "SELECT count(*) FROM evstore.read_events($reached)"), $end - $reached,
		"$when readers get the last events");
	follows($node, 'postgres', "$when the projections follow to the end");
	$node->restart;
}
fails_with($node, 'postgres', "SELECT bring('last', $end - 1, 1)", '2200H', 'nor is there room for restored events');
fails_with($node, 'postgres', q{SELECT evstore.append('over', 'Sold', '{}')}, '2200H', 'nothing has changed that');

done_testing();
