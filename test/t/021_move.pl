# Event tables on the move: a database copied as a template, and an event table
# replicated to a plain table of another server, which then becomes an event
# table there.  (Dumps: 009_dump.pl, pg_upgrade: 016_upgrade.pl.)

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

my $conf = q{
wal_level = logical
max_worker_processes = 30
max_connections = 40
max_prepared_transactions = 3
log_statement = none
};
my $node = start_node('main', streaming => 1, conf => $conf);
$node->safe_psql('postgres', 'CREATE DATABASE shop');
make_store($node, 'shop');
sell($node, 'shop', 500);
follows($node, 'shop', 'the source follows');

my $events = q{SELECT count(*), md5(string_agg(e::text, E'\n' ORDER BY "position")) FROM events e};
my $as_text = q{SELECT "position", version, recorded_at, schema_version, id, stream, type, data, metadata, tags FROM events ORDER BY 1};

# A template, while its projections have something to do.
my $holder = $node->background_psql('shop');
$holder->query_safe('BEGIN; LOCK TABLE sales, ledger IN SHARE MODE');
my $last = sell($node, 'shop', 200);
$holder->query_safe('COMMIT');
$holder->quit;
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
is($node->safe_psql('copy', $events), $node->safe_psql('shop', $events),
	'a copy by TEMPLATE has every event, with its position and version');
is($node->safe_psql('copy', 'SELECT count(*) = (SELECT count(*) FROM events) FROM evstore.read_events()'),
	't', 'before anything is appended, readers of the copy get every event');
follows($node, 'copy', 'its projections go on from their checkpoints, nothing missed and nothing twice');
my %next = map { $_ => sell($node, $_, 5) } 'shop', 'copy';
cmp_ok($next{$_}, '>', $last, "$_: positions go on above") for sort keys %next;
is( $node->safe_psql($_, q{SELECT count(*) - max(version) FROM events WHERE stream = 'sale-1'}), '0',
	"$_: versions go on without a hole") for sort keys %next;
follows($node, $_, "$_: goes its own way") for sort keys %next;

# Logical replication to a plain table: what is there already, and what comes later.
my $subscriber = start_node('subscriber', conf => $conf);
$subscriber->safe_psql('postgres', q{
	CREATE TABLE events ("position" bigint PRIMARY KEY, version bigint, recorded_at timestamptz, schema_version integer,
		id uuid, stream text COLLATE "C", type text COLLATE "C", data jsonb, metadata jsonb, tags text[], UNIQUE (stream, version))});
$node->safe_psql('shop', q{
	CREATE PUBLICATION outward FOR TABLE events;
	SELECT evstore.append('whole-1', evstore.events('[{"type": "T", "data": {"a": [1]}, "metadata": {"b": null}, "tags": ["x", "y"],
		"id": "8a9a63ac-3a5e-4d0a-a9bc-47d1b2a0c7a5"}]'))});
my $connection = $node->connstr('shop');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION inward CONNECTION \$\$$connection\$\$ PUBLICATION outward");
$subscriber->wait_for_subscription_sync($node, 'inward');
is($subscriber->safe_psql('postgres', $as_text), $node->safe_psql('shop', $as_text), 'the replica begins with every event');

# Late commits, roll-backs and prepared transactions arrive as they end.
my $late = $node->background_psql('shop');
$late->query_safe(q{BEGIN; SELECT evstore.append('late', 'Sold', '{"region": "late", "amount": 1}')});
$node->safe_psql('shop', q{
	BEGIN; SELECT evstore.append('gone', 'Sold', '{"region": "gone", "amount": 1}'); ROLLBACK;
	BEGIN; SELECT evstore.append('prepared', 'Sold', '{"region": "prepared", "amount": 1}'); PREPARE TRANSACTION 'move'});
sell($node, 'shop', 300);
$node->safe_psql('shop', q{INSERT INTO events (stream, type, data) SELECT 'inserted-' || g, 'Sold', '{"region": "x", "amount": 2}' FROM generate_series(1, 100) g});
$late->query_safe('COMMIT');
$late->quit;
$node->safe_psql('shop', q{COMMIT PREPARED 'move'});
$node->wait_for_catchup('inward');
is($subscriber->safe_psql('postgres', $as_text), $node->safe_psql('shop', $as_text), 'and goes on with every other');
follows($node, 'shop', 'the source follows all the while');

# The replica becomes a store of its own.
$subscriber->safe_psql('postgres', q{DROP SUBSCRIPTION inward; ALTER TABLE events RENAME TO replica});
make_store($subscriber, 'postgres');
$subscriber->safe_psql('postgres', 'INSERT INTO events SELECT * FROM replica ORDER BY random()');
is($subscriber->safe_psql('postgres', $as_text), $node->safe_psql('shop', $as_text), 'restored from the replica, every event is there');
follows($subscriber, 'postgres', 'projections that were there before get them all');
cmp_ok(sell($subscriber, 'postgres', 5), '>', $node->safe_psql('shop', 'SELECT max("position") FROM events'),
	'positions go on above');
is($subscriber->safe_psql('postgres', q{SELECT count(*) - max(version) FROM events WHERE stream = 'sale-1'}), '0', 'and versions without a hole');
follows($subscriber, 'postgres', 'and the projections with them');

done_testing();
