# pg_upgrade: the old server's events, projections and positions go on in the
# new one.  pg_upgrade runs both servers without evstore's processes, and loads
# the library into a server that does not preload it.  Old and new are of the
# same version here, which asks the same of evstore as two versions do.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = start_node('old');
make_store($old, 'postgres');
my $spread = q{
	SELECT data->>'region' AS region, count(*) + 1 AS more, stddev((data->>'amount')::numeric) AS deviation
	FROM events GROUP BY data->>'region'};
$old->safe_psql('postgres', qq{SELECT evstore.create_projection('spread', query => \$\$$spread\$\$)});
$old->safe_psql('postgres', q{
	SELECT evstore.create_event_table('journal');
	SELECT evstore.create_projection('both', query => 'SELECT count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM journal) b');
	SELECT evstore.append('entry-1', 'Made', '{}', event_table => 'journal')});
sell($old, 'postgres', 30);
follows($old, 'postgres', 'in the old server the projections follow');

is($old->safe_psql('postgres', q{SELECT evstore.wait_for('both'); SELECT n FROM "both"}), "t\n31", 'and the one over two event tables');

# Leave them some work for later.
my $holder = $old->background_psql('postgres', on_error_stop => 0);
is($old->safe_psql('postgres', q{SELECT evstore.wait_for('spread')}), 't', 'and so does the one that stores states');
$holder->query_safe('BEGIN; LOCK TABLE sales, ledger, spread_state IN SHARE MODE');
my $last = sell($old, 'postgres', 20);
my $events = q{SELECT md5(string_agg(e::text, E'\n' ORDER BY "position")) FROM events e};
my $stored = $old->safe_psql('postgres', $events);
$old->stop;
eval { $holder->quit };

my $new = PostgreSQL::Test::Cluster->new('new');
# Of the old one's encoding, whatever the locale of whoever runs the tests.
$new->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'evstore'");

chdir $PostgreSQL::Test::Utils::tmp_check;
chomp(my $bindir = $new->config_data('--bindir'));
ok( run_log(
		[
			'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
			'-b', $bindir, '-B', $bindir, '-s', $new->host,
			'-p', $old->port, '-P', $new->port ]),
	'pg_upgrade works')
  or die "there is nothing to look at\n";

$new->start;
is($new->safe_psql('postgres', $events), $stored, 'every event is as it was');
is($new->safe_psql('postgres', 'SELECT count(*) FROM evstore.read_events()'), '50', 'readers get every event');
follows($new, 'postgres', 'the projections catch up from where they were');
cmp_ok(sell($new, 'postgres', 10), '>', $last + 9, 'new positions are above the old ones');
follows($new, 'postgres', 'the projections go on');
is($new->safe_psql('postgres', q{SELECT evstore.wait_for('spread'); SELECT * FROM spread ORDER BY region}),
	"t\n" . $new->safe_psql('postgres', "$spread ORDER BY region"),
	'a state that was stored goes on, in the same version of the server');
$new->safe_psql('postgres', q{SELECT evstore.append('entry-1', 'Made', '{}', event_table => 'journal')});
is($new->safe_psql('postgres', q{SELECT evstore.wait_for('both'); SELECT n FROM "both"}), "t\n62", 'both event tables are still followed');
fails_with($new, 'postgres', 'DELETE FROM events', 'VE005', 'the table is still append-only');

done_testing();
