# PREPARE TRANSACTION: a prepared transaction commits in another process, where
# nobody would know which positions it holds, or what evstore's processes must
# be told.  With appended events or changed projections it is refused, as a
# whole and without a trace; without them it works as ever.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

my $node = start_node('main', conf => 'max_prepared_transactions = 5');
make_store($node, 'postgres');
$node->safe_psql('postgres', 'CREATE TABLE note (line text)');
sell($node, 'postgres', 5);

my $append = q{SELECT evstore.append('refused', 'Sold', '{"region": "x", "amount": 1}')};
my %refused = (
	'append' => $append,
	'INSERT' => q{INSERT INTO events (stream, type, data) VALUES ('refused', 'Sold', '{}')},
	'COPY' => qq{COPY events (stream, type, data) FROM STDIN;\nrefused\tSold\t{}\n\\.\n},
	'append in a savepoint' => "SAVEPOINT one; $append; RELEASE SAVEPOINT one");
for my $how (sort keys %refused)
{
	fails_with($node, 'postgres',
		"BEGIN; INSERT INTO note VALUES ('x'); $refused{$how}; PREPARE TRANSACTION 'with events'",
		'0A000', "$how: PREPARE TRANSACTION is refused");
	is( $node->safe_psql(
			'postgres', q{
			SELECT (SELECT count(*) FROM pg_prepared_xacts),
				(SELECT count(*) FROM note),
				(SELECT count(*) FROM events WHERE stream = 'refused'),
				(SELECT count(*) FROM evstore.appenders)}),
		'0|0|0|0', "$how: nothing is left of it, and it does not hold the mark");
}

# The session that was refused goes on, and so do its positions.
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query("BEGIN; $append; PREPARE TRANSACTION 'with events'");
my $after = $session->query(q{SELECT "position" FROM evstore.append('later', 'Sold', '{"region": "y", "amount": 2}')});
like($after, qr/^\d+$/, 'the same session can append afterwards');
is($node->safe_psql('postgres', 'SELECT max("position") FROM evstore.read_events()'),
	$after, 'and readers see it at once');

# Events that a savepoint took back: refused or not, the mark is free afterwards.
$session->query("BEGIN; SAVEPOINT one; $append; ROLLBACK TO SAVEPOINT one; PREPARE TRANSACTION 'taken back'");
is($node->safe_psql('postgres', 'SELECT count(*) FROM evstore.appenders'),
	'0', 'a PREPARE TRANSACTION after the events were taken back does not hold the mark');
$node->psql('postgres', q{ROLLBACK PREPARED 'taken back'});
$session->quit;

# What the launcher or a manager would have to be told of at the commit.
$node->safe_psql('postgres', 'CREATE DATABASE without; CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION evstore');
my %untold = (
	'CREATE EXTENSION' => [ 'without', 'CREATE EXTENSION evstore' ],
	'DROP EXTENSION' => [ 'other', 'DROP EXTENSION evstore' ],
	'create_projection' => [ 'postgres', q{SELECT evstore.create_projection('types', query => 'SELECT type, count(*) AS n FROM events GROUP BY type')} ],
	'drop_projection' => [ 'postgres', q{SELECT evstore.drop_projection('sales')} ]);
for my $what (sort keys %untold)
{
	my ($db, $sql) = @{ $untold{$what} };

	fails_with($node, $db, "BEGIN; $sql; PREPARE TRANSACTION 'untold'", '0A000',
		"$what: PREPARE TRANSACTION is refused");
}
is( scalar $node->psql(
		'other', q{
		BEGIN; DROP EXTENSION plpgsql; CREATE EXTENSION plpgsql; PREPARE TRANSACTION 'not ours';
		COMMIT PREPARED 'not ours'}),
	0, 'other extensions can be created and dropped in a prepared transaction');

# Without events of its own, a transaction can be prepared.
for my $end ('COMMIT', 'ROLLBACK')
{
	$node->safe_psql('postgres',
		"BEGIN; INSERT INTO note VALUES ('$end'); SELECT count(*) FROM evstore.read_stream('sale-1'); PREPARE TRANSACTION 'plain'");
	sell($node, 'postgres', 5);
	follows($node, 'postgres', "$end PREPARED: the projections go on while it is prepared");
	$node->safe_psql('postgres', "$end PREPARED 'plain'");
}
is($node->safe_psql('postgres', 'SELECT line FROM note'),
	'COMMIT', 'the prepared transactions ended as they were told');
sell($node, 'postgres', 5);
follows($node, 'postgres', 'the projections follow');

done_testing();
