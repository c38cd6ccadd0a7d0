# The README: its SQL runs from top to bottom as it stands there, failing only
# where it says so, and shows what it says.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my $sql = join "\n", $readme =~ /^```sql\n(.*?)^```/msg;
my @promised = $readme =~ /^ERROR:  (.*)$/mg;

my $node = start_node('main');
my ($out, $err) = ('', '');
IPC::Run::run([ 'psql', '-X', '-P', 'null=', '-d', $node->connstr('postgres') ], '<', \$sql, '>', \$out, '2>', \$err);

is_deeply([ $err =~ /ERROR:  (.*)$/mg ], \@promised, 'the README fails where it says so, and nowhere else')
  or diag $err;
for my $row ('north  |      2 |    42.5', '2 |        3', 'south  |      1 |       3')
{
	like($out, qr/^ *\Q$row\E *$/m, "its output has: $row");
}
done_testing();
