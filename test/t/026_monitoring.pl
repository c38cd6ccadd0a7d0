# What one sees from outside: the real prometheus-postgres-exporter, connected as a
# role that may monitor and nothing else, finds every metric that the alerts and
# the dashboard name, with the right values; promtool takes the alerts, and the
# dashboard's expressions; and pg_stat_activity and LISTEN tell what goes on.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $top = "$FindBin::RealBin/../..";
my $monitoring = "$top/docs/monitoring";
my $scratch = PostgreSQL::Test::Utils::tempdir;

# --- the files alone ---

# Run promtool: whether it is content.
sub promtool
{
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'promtool', @_ ], '>', \$out, '2>', \$err);
	diag "$out$err" unless $ok;
	return $ok;
}

ok(promtool('check', 'rules', "$monitoring/alerts.yaml"), 'promtool takes the alerts');
ok(promtool('test', 'rules', "$top/test/monitoring/alerts.test.yaml"), 'each alert fires when it shall, and only then');

my $dashboard = decode_json(slurp_file("$monitoring/dashboard.json"));
my @expressions = map { $_->{expr} } map { @{ $_->{targets} } } @{ $dashboard->{panels} };
cmp_ok(scalar @expressions, '>=', 10, 'the dashboard has expressions');

# As rules, with what Grafana fills in filled in.
my $rules = "groups:\n  - name: dashboard\n    rules:\n";
for my $expression (@expressions)
{
	(my $filled = $expression) =~ s/\$__rate_interval/1m/g;
	$filled =~ s/\$\w+/.*/g;
	$rules .= '      - {record: a, expr: ' . encode_json([$filled]) =~ s/^\[|\]$//gr . ", labels: {n: '" . ++$#{ [ $rules =~ /record/g ] } . "'}}\n";
}
append_to_file("$scratch/dashboard.yaml", $rules);
ok(promtool('check', 'rules', "$scratch/dashboard.yaml"), "promtool takes the dashboard's expressions");

# --- a store with something to see ---

my $node = start_node('main', conf => "max_worker_processes = 16\nevstore.notify = on");
$node->safe_psql('postgres', 'CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE DATABASE shop');
make_store($node, 'shop');
$node->safe_psql(
	'shop', q{
	SELECT evstore.create_projection('broken', statement => 'SELECT 1 / (count(*) - count(*)) FROM new_events');
	SELECT evstore.create_projection('resting', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
	SELECT evstore.pause_projection('resting');});
sell($node, 'shop', 100);
$node->safe_psql(
	'shop', q{
	CREATE TABLE few (n bigint CHECK (n > 2));
	SELECT evstore.create_projection('careless', on_error => 'skip', retries => 0, read_table => 'few',
		statement => 'INSERT INTO few SELECT (data->>$q$amount$q$)::bigint FROM new_events');
	SELECT evstore.wait_for('careless');});
fails_with($node, 'shop', q{SELECT evstore.append('sale-1', 'Sold', '{}', expected_version => 0)}, 'VE001', 'a conflict')
  for 1 .. 3;
fails_with($node, 'shop', q{SELECT evstore.append_if(evstore.events('[{"type": "Sold", "data": {}}]'), '{"items": [{"types": ["Sold"]}]}')},
	'VE004', 'a condition that does not hold');
follows($node, 'shop', 'two projections follow');
is($node->safe_psql('shop', q{SELECT evstore.wait_for('broken', timeout => '10 ms')}), 'f', 'a wait in vain');
eventually($node, 'shop', q{SELECT failures > 0 FROM evstore.projections WHERE name = 'broken'}, 'one fails', 't');

# --- the exporter ---

my $port = PostgreSQL::Test::Cluster::get_free_port();
local $ENV{DATA_SOURCE_NAME} = 'host=' . $node->host . ' port=' . $node->port . ' user=watcher dbname=shop sslmode=disable';
my $log = '';
my $exporter = IPC::Run::start(
	[ 'prometheus-postgres-exporter', "--web.listen-address=127.0.0.1:$port",
		"--extend.query-path=$monitoring/queries.yaml", '--disable-settings-metrics' ],
	'<', \undef, '>&', \$log);

# Ask the exporter: its answer as text, waited for at first.
sub scrape
{
	my $response;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$response = HTTP::Tiny->new->get("http://127.0.0.1:$port/metrics");
		last if $response->{success};
		usleep(100_000);
	}
	return $response->{success} ? $response->{content} : '';
}

# The value of a metric among those scraped, by its labels.
sub value
{
	my ($text, $metric, %labels) = @_;
	for (grep { /^\Q$metric\E\{/ } split /\n/, $text)
	{
		my $line = $_;
		return (split ' ', $line)[-1] unless grep { $line !~ /[{,]$_="\Q$labels{$_}\E"/ } keys %labels;
	}
	return 'none';
}

my $text = scrape();
unlike($text, qr/^pg_exporter_user_queries_load_error\{.*\} 1/m, 'the exporter could read the queries');
like($text, qr/^pg_exporter_last_scrape_error 0$/m, 'no query failed') or do { $exporter->pump_nb; diag $log };

# Every metric that is named is there.
my %named = map { $_ => 1 } map { /\b(evstore_\w+)/g } @expressions, slurp_file("$monitoring/alerts.yaml") =~ /expr: (.*(?:\n {10,}.*)*)/g;
cmp_ok(scalar keys %named, '>=', 15, 'metrics are named');
like($text, qr/^\Q$_\E\{.*\} /m, "$_ is scraped") for sort keys %named;

# And the other way round: what is asked for is used by an alert or the dashboard, or is a position.
my %scraped = map { $_ => 1 } $text =~ /^(evstore_\w+)\{/mg;
is(join(' ', grep { !$named{$_} } sort keys %scraped), 'evstore_projection_position', 'nothing is scraped for nobody');

my %expected = (
	evstore_events_total => 100, evstore_append_transactions_total => 1, evstore_conflicts_total => 3,
	evstore_failed_conditions_total => 1, evstore_wait_timeouts_total => 1, evstore_open_appends => 0,
	evstore_oldest_append_seconds => 0, evstore_pool_launchers => 1, evstore_pool_managers => 1,
	evstore_pool_workers => 2, evstore_pool_workers_wanted => 2);
is(value($text, $_, database => 'shop'), $expected{$_}, "$_ is right") for sort keys %expected;
is(value($text, 'evstore_projection_info_present', projection => 'broken', kind => 'statement'), 1, 'one that fails');
is(value($text, 'evstore_projection_info_present', projection => 'broken', state => 'live'), 'none', 'is not live');
is(value($text, 'evstore_projection_info_present', projection => 'resting', state => 'paused', kind => 'query'), 1, 'a paused one');
is(value($text, 'evstore_projection_skipped_events', projection => 'careless'), 2, 'one that skips events says how many');
is(value($text, 'evstore_projection_parked_streams', projection => 'careless'), 0, 'and holds no stream back');
is(value($text, 'evstore_projection_lag_events', projection => 'sales'), 0, 'a live one has no lag');
is(value($text, 'evstore_projection_lag_seconds', projection => 'sales'), 0, 'nor in seconds');
cmp_ok(value($text, 'evstore_projection_positions_total', projection => 'sales'), '>=', 100, 'it has passed the events');
cmp_ok(value($text, 'evstore_projection_batches_total', projection => 'sales'), '>=', 1, 'in batches');
cmp_ok(value($text, 'evstore_projection_busy_seconds_total', projection => 'sales'), '>', 0, 'which took a while');
cmp_ok(value($text, 'evstore_projection_failures_total', projection => 'broken'), '>=', 1, 'failures are counted');
cmp_ok(value($text, 'evstore_projection_lag_seconds', projection => 'broken'), '>', 0, 'it lags, as who may monitor can see');
is($node->safe_psql('shop', q{SET ROLE watcher; SELECT has_table_privilege('events', 'SELECT')}), 'f', 'without reading the events');

# An open transaction that has appended.
my $other = $node->background_psql('shop');
$other->query_safe('BEGIN');
$other->query_safe('SELECT sell(1)');
usleep(1000) until $node->safe_psql('shop', 'SELECT oldest_append_seconds > 0 FROM evstore.stats') eq 't';
$text = scrape();
is(value($text, 'evstore_open_appends', database => 'shop'), 1, 'an open append');
cmp_ok(value($text, 'evstore_oldest_append_seconds', database => 'shop'), '>', 0, 'and its age');
$other->query_safe('ROLLBACK');
is($node->safe_psql('shop', 'SELECT transactions, events FROM evstore.stats'), '1|100', 'what is rolled back is not counted');
$exporter->kill_kill;

# --- pg_stat_activity and LISTEN ---

# A batch that waits for a lock says which it is.
$node->safe_psql('shop', q{
	CREATE TABLE slow (n bigint);
	SELECT evstore.create_projection('slow', read_table => 'slow', statement => 'INSERT INTO slow SELECT "position" FROM new_events');
	SELECT evstore.wait_for('slow')});
$other->query_safe('BEGIN');
$other->query_safe('LOCK TABLE slow');
my $last = sell($node, 'shop', 5);
eventually($node, 'shop', q{SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'evstore worker' AND application_name = 'evstore worker' AND state = 'active'
	AND query ~ '^applying a batch of projection "slow" from \d+ to } . $last . q{$'}, 'a worker says what it does', '1');
$other->query_safe('COMMIT');
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_stat_activity
	WHERE backend_type IN ('evstore launcher', 'evstore manager') AND application_name = backend_type AND state = 'idle' AND query <> ''
	AND datname IS NOT DISTINCT FROM CASE backend_type WHEN 'evstore manager' THEN 'shop' END}), '2', 'launcher and manager say what they did');

# A notification comes with the batch that changed something, and with no other.
$other->query_safe('LISTEN evstore');
$last = sell($node, 'shop', 3);
$node->safe_psql('shop', q{DO $$ BEGIN PERFORM evstore.wait_for(ARRAY['sales', 'ledger', 'slow']); END $$});
my $heard = $other->query_safe('SELECT 1');
for my $projection (qw(sales ledger slow))
{
	like($heard, qr/notification "evstore" with payload "\{"projection": "$projection", "position": $last\}"/, "$projection tells how far it is");
}
$node->safe_psql('shop', q{
	SELECT evstore.create_event_table('quiet');
	SELECT evstore.append('a', 'B', '{}', event_table => 'quiet');});
$node->safe_psql('shop', q{DO $$ BEGIN PERFORM evstore.wait_for(ARRAY['sales', 'ledger', 'slow']); END $$});
unlike($other->query_safe('SELECT 1'), qr/notification/, 'what changes nothing tells nothing');
$node->safe_psql('shop', 'ALTER SYSTEM SET evstore.notify = off; SELECT pg_reload_conf()');
eventually($node, 'shop', 'SHOW evstore.notify', 'off', 'off');
$node->safe_psql('shop', q{SELECT evstore.create_projection('after', query => 'SELECT type, count(*) AS n FROM events GROUP BY type')});
$node->safe_psql('shop', q{DO $$ BEGIN PERFORM evstore.wait_for(ARRAY['sales', 'ledger', 'slow', 'after']); END $$});
$other->query_safe('SELECT 1');
sell($node, 'shop', 1);
$node->safe_psql('shop', q{DO $$ BEGIN PERFORM evstore.wait_for(ARRAY['sales', 'ledger', 'slow', 'after']); END $$});
unlike($other->query_safe('SELECT 1'), qr/notification/, 'and nothing is told when it is off');
$other->quit;

done_testing();
