# Real clients: python3-psycopg and node-postgres append, are refused, read, and
# wait for a read table, each with its own way of sending parameters.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = "$FindBin::RealBin/../clients";
my %programs = (
	'python3-psycopg' => [ '/usr/bin/python3', "$clients/client.py" ],
	'node-postgres' => [ 'node', "$clients/client.js" ]);

# node-postgres comes from the npm registry; without it, that part is left out.
my $modules = PostgreSQL::Test::Utils::tempdir;
local $ENV{npm_config_cache} = "$modules/cache";
my $has_node = system("npm install --silent --no-audit --no-fund --prefix '$modules' pg\@8 >'$modules/log' 2>&1") == 0;
local $ENV{NODE_PATH} = "$modules/node_modules";

my $node = start_node('main');
for my $client (sort keys %programs)
{
  SKIP:
	{
		skip 'npm could not install pg', 1 if $client eq 'node-postgres' && !$has_node;

		(my $db = $client) =~ s/\W.*//;
		$node->safe_psql('postgres', "CREATE DATABASE $db");
		$node->safe_psql(
			$db, q{
			CREATE EXTENSION evstore;
			SELECT evstore.create_event_table();
			SELECT evstore.create_projection('by_type',
				query => 'SELECT type, count(*) AS n FROM events GROUP BY type');});

		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		local $ENV{PGDATABASE} = $db;
		my ($out, $err) = ('', '');
		my $ran = IPC::Run::run($programs{$client}, '>', \$out, '2>', \$err);
		note $out;
		ok($ran && $out =~ /^1\.\.\d+$/m && $out !~ /^not ok/m, "$client: every check passes")
		  or diag "$out$err";
	}
}
done_testing();
