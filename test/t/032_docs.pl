# The documents that tell a story: their SQL runs from top to bottom in an empty
# database, and each block shows what stands below it.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

# The blocks of a document: SQL, and what stands below it, or undef.
sub blocks
{
	my ($document) = @_;
	my @blocks;
	while ($document =~ /^```(sql|text)\n(.*?)^```/msg)
	{
		if ($1 eq 'sql') { push @blocks, [ $2, undef ] }
		elsif (@blocks) { $blocks[-1][1] = $2 }
	}
	return @blocks;
}

for my $name ('reference', 'domain')
{
	my @blocks = blocks(slurp_file("$FindBin::RealBin/../../docs/$name.md"));
	my $sql = join '', "\\set SHOW_CONTEXT errors\n", map { "\\echo \@\@$_\n$blocks[$_][0]" } 0 .. $#blocks;

	# Roles belong to the server, and positions count from 1: each document has its own.
	my $node = start_node($name);
	# The story is told by a superuser of this name.
	$node->safe_psql('postgres', 'CREATE ROLE postgres SUPERUSER LOGIN')
	  if $node->safe_psql('postgres', 'SELECT current_user') ne 'postgres';
	my $out = '';
	IPC::Run::run([ 'psql', '-X', '-U', 'postgres', '-d', $node->connstr('postgres') ], '<', \$sql, '>', \$out, '2>&1');

	cmp_ok(scalar(@blocks), '>', 10, "docs/$name.md has examples");
	for my $n (0 .. $#blocks)
	{
		my ($block, $promised) = @{ $blocks[$n] };
		my ($shown) = $out =~ /^\@\@$n\n(.*?)(?=^\@\@@{[$n + 1]}\n|\z)/ms;
		(my $title = (split /\n/, $block)[0]) =~ s/#/\\#/g;

		if (defined $promised) { is($shown, $promised, "docs/$name.md: $title") }
		else { unlike($shown, qr/^ERROR/m, "docs/$name.md, without output: $title") }
	}
	$node->stop('immediate');
}
done_testing();
