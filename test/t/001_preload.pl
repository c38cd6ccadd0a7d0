# Without shared_preload_libraries = 'evstore' there is no shared memory and no
# hook, so nothing may be written; but what is stored can be read, and the
# library can be loaded (pg_upgrade and CREATE EXTENSION do so).

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

my $node = start_node('main');
make_store($node, 'postgres');
sell($node, 'postgres', 20);
follows($node, 'postgres', 'preloaded: the projections follow');

# Restart the server with these libraries.
sub preload
{
	my ($libraries) = @_;

	$node->stop;
	$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'$libraries'");
	$node->start;
}

preload('');

my $hint = qr/HINT:  .*shared_preload_libraries/;
my @refused = (
	[ 'append of one event' => q{SELECT evstore.append('a', 'T', '{}'::jsonb)} ],
	[ 'append of JSON text' => q{SELECT evstore.append('a', 'T', '{}')} ],
	[ 'append of many events' => q{SELECT evstore.append('a', evstore.events('[{"type": "T", "data": {}}]'))} ],
	[ 'INSERT' => q{INSERT INTO events (stream, type, data) VALUES ('a', 'T', '{}')} ],
	[ 'COPY' => qq{COPY events (stream, type, data) FROM STDIN;\na\tT\t{}\n\\.\n} ],
	[ 'create_event_table' => q{SELECT evstore.create_event_table('more')} ],
	[ 'protect' => q{SELECT evstore.protect('ledger')} ],
	[ 'create_projection' => q{SELECT evstore.create_projection('p', query => 'SELECT type, count(*) AS n FROM events GROUP BY type')} ],
	[ 'drop_projection' => q{SELECT evstore.drop_projection('sales')} ],
	[ 'wait_for' => q{SELECT evstore.wait_for('sales')} ],
	[ 'read_events' => q{SELECT evstore.read_events()} ]);
fails_with($node, 'postgres', $_->[1], '55000', "not preloaded: $_->[0] is refused with a hint", $hint)
  for @refused;

is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM events), (SELECT sum(sales) FROM sales)'),
	'20|20', 'not preloaded: the tables can be read, and nothing was written');
is($node->safe_psql('postgres', "SELECT to_regclass('more') IS NULL"),
	't', 'not preloaded: no table was left behind');
is($node->safe_psql('postgres', q{SELECT count(*), min(version), max(version) FROM evstore.read_stream('sale-1')}),
	'2|1|2', 'not preloaded: a stream can be read');
fails_with($node, 'postgres', 'UPDATE events SET version = 1', 'VE005',
	'not preloaded: the triggers keep the table append-only');

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
is($node->safe_psql('fresh', 'CREATE EXTENSION evstore; SELECT count(*) FROM pg_extension WHERE extname = $$evstore$$'),
	'1', 'not preloaded: the extension can be created');

preload('evstore');

sell($node, 'postgres', 20);
follows($node, 'postgres', 'preloaded again: the projections go on');
eventually($node, 'postgres', process_count('manager', 'fresh'),
	'preloaded again: the database made meanwhile gets its manager', '1');

done_testing();
