# The examples: the bank and the shop show what they promise, with psql alone,
# from python3-psycopg and from node-postgres.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $examples = "$FindBin::RealBin/../../examples";

# node-postgres comes from the npm registry; without it, that part is left out.
my $modules = PostgreSQL::Test::Utils::tempdir;
local $ENV{npm_config_cache} = "$modules/cache";
my $has_node = system("npm install --silent --no-audit --no-fund --prefix '$modules' pg\@8 >'$modules/log' 2>&1") == 0;
local $ENV{NODE_PATH} = "$modules/node_modules";

# How each client runs an example, and where what it shows is kept.
my %clients = (
	'psql' => [ 'psql.out', sub { ('psql', '-X', '-f', "$_[0].sql") } ],
	'python3-psycopg' => [ 'client.out', sub { ('/usr/bin/python3', "$_[0].py") } ],
	'node-postgres' => [ 'client.out', sub { ('node', "$_[0].js") } ]);

my $node = start_node('main', conf => 'max_worker_processes = 40');
local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
for my $example ('bank', 'shop')
{
	for my $client (sort keys %clients)
	{
	  SKIP:
		{
			skip 'npm could not install pg', 2 if $client eq 'node-postgres' && !$has_node;

			my ($shown, $command) = @{ $clients{$client} };
			(my $db = "${example}_$client") =~ s/\W.*//;
			$node->safe_psql('postgres', "CREATE DATABASE $db");
			$node->safe_psql($db, 'CREATE EXTENSION evstore');

			local $ENV{PGDATABASE} = $db;
			my ($out, $err) = ('', '');
			my $ran = IPC::Run::run([ $command->("$examples/$example/$example") ], '<', \undef, '>', \$out, '2>', \$err);
			ok($ran, "$example, $client: it runs to its end") or diag $err;
			is($out, slurp_file("$examples/$example/$shown"), "$example, $client: it shows what it promises");
		}
	}
}
done_testing();
