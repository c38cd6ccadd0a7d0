# A hot standby: it can be read with plain SELECT and by stream, it takes no
# event, and it does not pretend to know the safe position.  Once promoted it
# appends above every position that was handed out before, and its projections
# go on where they were.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = start_node('primary', streaming => 1);
make_store($primary, 'postgres');
sell($primary, 'postgres', 30);
follows($primary, 'postgres', 'the projections follow on the primary');

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# More events, some of them not projected yet, and positions that never commit.
sell($primary, 'postgres', 30);
my $open = $primary->background_psql('postgres');
my $handed_out =
  $open->query_safe(q{BEGIN; SELECT "position" FROM evstore.append('open', 'Sold', '{}')});
my $committed = sell($primary, 'postgres', 3);
$primary->safe_psql(
	'postgres', q{
	CREATE FUNCTION total(state numeric, e evstore.event) RETURNS numeric LANGUAGE sql AS
		$$SELECT state + (e.data->>'amount')::numeric$$;
	CREATE FUNCTION sell_one(state numeric, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS
		$$SELECT 'Sold', command, NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer$$;
	SELECT evstore.create_aggregate('sale', 'total', '0', snapshot_every => 5);
	SELECT evstore.create_command('sell', 'sale', 'sell_one');
	SELECT evstore.create_event_table('shaped');
	SELECT evstore.append('note-1', evstore.events('[{"type": "Noted", "data": {}}, {"type": "Lost", "data": {}}]'), event_table => 'shaped');
	CREATE FUNCTION noted_2(data jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN data || '{"shape": 2}'; END$$;
	CREATE FUNCTION lost(e evstore.event) RETURNS SETOF evstore.event LANGUAGE sql IMMUTABLE AS 'SELECT e WHERE false';
	CREATE FUNCTION notes(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE sql AS 'SELECT e.data';
	SELECT evstore.create_upcaster('Noted', 1, 'noted_2', 'shaped');
	SELECT evstore.create_upcaster('Lost', 1, 'lost', 'shaped');
	SELECT evstore.create_aggregate('note', 'notes', event_table => 'shaped');});
$primary->wait_for_catchup($standby);

my %refused = (
	'append' => q{SELECT evstore.append('a', 'T', '{}')},
	'append of many events' => q{SELECT evstore.append('a', evstore.events('[{"type": "T", "data": {}}]'))},
	'INSERT' => q{INSERT INTO events (stream, type, data) VALUES ('a', 'T', '{}')},
	'execute' => q{SELECT evstore.execute('sale-1', 'sell', '{"amount": 1}')},
	'create_aggregate' => q{SELECT evstore.create_aggregate('other', 'total')},
	'create_event_table' => q{SELECT evstore.create_event_table('more')},
	'create_projection' => q{SELECT evstore.create_projection('p', query => 'SELECT type, count(*) AS n FROM events GROUP BY type')},
	'create_event_type' => q{SELECT evstore.create_event_type('Noted', event_table => 'shaped')},
	'create_upcaster' => q{SELECT evstore.create_upcaster('Noted', 2, 'noted_2', 'shaped')},
	'drop_upcaster' => q{SELECT evstore.drop_upcaster('Noted', 1, 'shaped')},
	'drop_projection' => q{SELECT evstore.drop_projection('sales')},
	'rebuild_projection' => q{SELECT evstore.rebuild_projection('sales')},
	'verify_projection of a statement' => q{SELECT evstore.verify_projection('ledger')});
fails_with($standby, 'postgres', $refused{$_}, '25006', "on the standby $_ is refused")
  for sort keys %refused;
fails_with($standby, 'postgres', 'SELECT evstore.read_events()', '0A000',
	'on the standby read_events says why it cannot tell', qr/recovery.*HINT:  Ask the primary/s);

is($standby->safe_psql('postgres', 'SELECT count(*), max("position") FROM events'),
	"63|$committed", 'on the standby the events can be selected');
is( $standby->safe_psql('postgres', q{
		SELECT count(*), min(version), max(version), evstore.stream_version('sale-1')
		FROM evstore.read_stream('sale-1')}),
	'7|1|7|7', 'on the standby a stream can be read');
is( $standby->safe_psql('postgres', q{
		SELECT state::numeric = (SELECT sum((data->>'amount')::numeric) FROM events WHERE stream = 'sale-1'), version
		FROM evstore.load('sale-1')}),
	't|7', 'on the standby a state can be loaded');
is( $standby->safe_psql('postgres', q{
		SELECT schema_version, data, (SELECT state || jsonb_build_object('version', version) FROM evstore.load('note-1', event_table => 'shaped'))
		FROM evstore.read_stream('note-1', event_table => 'shaped')}),
	'2|{"shape": 2}|{"shape": 2, "version": 2}', 'on the standby events are read in their newest shape');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM sales'),
	'3', 'on the standby the read tables can be selected');
is($standby->safe_psql('postgres', 'SELECT count(*), count("position"), count(head) FROM evstore.projections'),
	'3|3|0', 'on the standby the status view shows what is known there');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM evstore.verify_projection('sales')}),
	'0', 'on the standby a query can be verified');
is($standby->safe_psql('postgres', q{SELECT sum(sales) FROM evstore.projection_as_of(NULL::sales, 20)}),
	'20', 'on the standby a read table can be seen as it was');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM evstore.rebuild_progress'),
	'0', 'on the standby the view of rebuilds can be read');
is($standby->safe_psql('postgres', process_count('worker')),
	'0', 'on the standby no worker runs');

# The primary is lost.
kill_server($primary);
eval { $open->quit };
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');

my $next = sell($standby, 'postgres', 1);
cmp_ok($next, '>', $handed_out > $committed ? $handed_out : $committed,
	'after promotion the next position is above all that were handed out');
sell($standby, 'postgres', 30);
follows($standby, 'postgres', 'after promotion the projections go on, nothing missed and nothing twice');
is($standby->safe_psql('postgres', 'SELECT count(*) = (SELECT count(*) FROM events) FROM evstore.read_events()'),
	't', 'after promotion read_events gives every event');

done_testing();
