# The demo: it ends by itself, with every read table equal to the ground truth,
# and leaves no process and no file behind.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

my $before = join ' ', sort glob '/tmp/evstore-demo.*';
my ($out, $err) = ('', '');
my $ran = IPC::Run::run([ "$FindBin::RealBin/../../examples/orders/demo" ], '<', \undef, '>', \$out, '2>', \$err);
my @lines = split /\n/, $out;

ok($ran, 'the demo succeeds') or diag "$out$err";
is($lines[-1], 'demo: all read tables equal the ground truth', 'its last line says so');
like($out, qr/VE001/, 'it shows a conflict');
like($out, qr/VE005/, 'it shows an UPDATE being refused');
is(join(' ', sort glob '/tmp/evstore-demo.*'), $before, 'it leaves no file behind');
done_testing();
