# A projection works with the rights of its owner: no less, or it fails alone
# and recovers when it is mended; and no more, whatever the owner hangs on the
# read table.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use Test::More;

my $node = start_node('main');
make_store($node, 'postgres');
my @owners = ('anna', 'boris', 'carla', 'dirk', 'emma');
for my $owner (@owners)
{
	$node->safe_psql(
		'postgres', qq{
		CREATE ROLE $owner;
		GRANT SELECT ON events TO $owner;
		CREATE SCHEMA AUTHORIZATION $owner;
		SET ROLE $owner;
		SET search_path = $owner, public;
		SELECT evstore.create_projection('of_$owner',
			query => 'SELECT stream, count(*) AS n FROM public.events GROUP BY stream');});
}
# Emma's is a statement, whose target the owner must be allowed to write.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE public.noted ("position" bigint);
	GRANT INSERT ON public.noted TO emma;
	GRANT SELECT ON public.new_events TO emma;
	SET ROLE emma;
	SELECT evstore.create_projection('notes_of_emma', statement => 'INSERT INTO public.noted SELECT "position" FROM public.new_events')});

my $by_stream = 'SELECT stream, count(*) FROM events GROUP BY stream ORDER BY stream';

# The read table that the owner's projection keeps equals its query.
sub keeps
{
	my ($owner, $test_name, $table) = @_;
	$table ||= "of_$owner";
	my $kept = $node->safe_psql('postgres',
		"SELECT evstore.wait_for('of_$owner'); SELECT stream, n FROM $owner.$table ORDER BY stream");
	return is($kept, "t\n" . $node->safe_psql('postgres', $by_stream), $test_name);
}

# The projection is in this state, with a last error that matches.
sub is_failing
{
	my ($name, $pattern) = @_;

	eventually($node, 'postgres', "SELECT state FROM evstore.projections WHERE name = '$name'",
		"$name is failing", 'failing');
	like($node->safe_psql('postgres', "SELECT last_error FROM evstore.projections WHERE name = '$name'"),
		$pattern, "$name says why");
}

sub recovers
{
	my ($name) = @_;

	eventually($node, 'postgres', "SELECT state, last_error IS NULL, failures FROM evstore.projections WHERE name = '$name'",
		"$name recovers", 'live|t|0');
}

sell($node, 'postgres', 20);
keeps($_, "at first the projection of $_ follows") for @owners;
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('notes_of_emma'); SELECT count(*) FROM noted}),
	"t\n20", 'and so does the statement');

# Take something away from each of them, but from boris.
$node->safe_psql(
	'postgres', q{
	REVOKE SELECT ON events FROM anna;
	ALTER TABLE boris.of_boris RENAME TO renamed;
	DROP TABLE carla.of_carla;
	REASSIGN OWNED BY dirk TO boris;
	DROP OWNED BY dirk;
	DROP ROLE dirk;
	REVOKE INSERT ON noted FROM emma});
sell($node, 'postgres', 20);
is_failing('of_anna', qr/permission denied .*events/);
is_failing('of_carla', qr/of_carla|read table/);
is_failing('of_dirk', qr/role|owner/);
is_failing('notes_of_emma', qr/permission denied .*noted/);
follows($node, 'postgres', 'the projections of others go on');
keeps('emma', 'so does another projection of the same owner');
keeps('boris', 'a read table may be renamed', 'renamed');

# Only the owner, and a superuser, may read what the error says.
is($node->safe_psql('postgres', q{SET ROLE emma; SELECT name FROM evstore.projections WHERE last_error IS NOT NULL}),
	'notes_of_emma', 'the last error is shown to the owner only');

# Give it back.
$node->safe_psql(
	'postgres', q{
	GRANT SELECT ON events TO anna;
	ALTER TABLE boris.renamed RENAME TO of_boris;
	GRANT INSERT ON noted TO emma;
	SELECT evstore.drop_projection('of_carla');
	SELECT evstore.drop_projection('of_dirk', keep_table => true);
	SET ROLE carla;
	SET search_path = carla, public;
	SELECT evstore.create_projection('of_carla', query => 'SELECT stream, count(*) AS n FROM public.events GROUP BY stream')});
recovers($_) for ('of_anna', 'of_carla', 'notes_of_emma');
keeps($_, "mended, the projection of $_ has missed nothing") for ('anna', 'boris', 'carla');
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('notes_of_emma'); SELECT count(*), count(DISTINCT "position") FROM noted}),
	"t\n40|40", 'nor has the statement');
follows($node, 'postgres', 'the projections of others go on');

# Policies that come to bind an owner hide events: the batch fails rather than pass over them.
$node->safe_psql('postgres', 'ALTER TABLE events ENABLE ROW LEVEL SECURITY');
sell($node, 'postgres', 20);
is_failing('of_boris', qr/row-level security .*"events" .*"boris"/);
is_failing('notes_of_emma', qr/row-level security .*"events" .*"emma"/);
follows($node, 'postgres', 'the projections of the owner of the event table go on');
$node->safe_psql('postgres', 'ALTER TABLE events DISABLE ROW LEVEL SECURITY');
recovers($_) for ('of_boris', 'notes_of_emma');
keeps('boris', 'the projection of boris has missed nothing behind the policies');
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('notes_of_emma'); SELECT count(*), count(DISTINCT "position") FROM noted}),
	"t\n60|60", 'nor has the statement');

# A hostile owner: a trigger on the read table that tries to become superuser.
$node->safe_psql(
	'postgres', q{
	CREATE ROLE mallory;
	GRANT SELECT ON events TO mallory;
	CREATE SCHEMA AUTHORIZATION mallory;
	SET ROLE mallory;
	SET search_path = mallory, public;
	SELECT evstore.create_projection('climber', query => 'SELECT stream, count(*) AS n FROM public.events GROUP BY stream');
	CREATE TABLE attempt (how text, acting name, outcome text);
	CREATE FUNCTION climb() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		how text;
	BEGIN
		FOREACH how IN ARRAY ARRAY[
			'ALTER ROLE mallory SUPERUSER',
			'SET ROLE postgres',
			'RESET ROLE',
			'SET SESSION AUTHORIZATION DEFAULT',
			'SET SESSION AUTHORIZATION postgres',
			'SET LOCAL evstore.maintenance = on',
			'GRANT ALL ON public.ledger TO mallory',
			'UPDATE public.ledger SET amount = 0',
			'UPDATE evstore._projection SET owner = ''postgres''']
		LOOP
			BEGIN
				EXECUTE how;
				INSERT INTO mallory.attempt VALUES (how, current_user, 'done');
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO mallory.attempt VALUES (how, current_user, SQLSTATE);
			END;
		END LOOP;
		RETURN NEW;
	END
	$$;
	CREATE TRIGGER climb BEFORE INSERT OR UPDATE ON climber FOR EACH ROW EXECUTE FUNCTION climb()});
sell($node, 'postgres', 20);
is($node->safe_psql('postgres', q{SELECT evstore.wait_for('climber')}), 't', 'a trigger on the read table runs');
is($node->safe_psql('postgres', 'SELECT DISTINCT acting FROM mallory.attempt'),
	'mallory', 'it runs as the owner of the projection');
is($node->safe_psql('postgres', q{SELECT DISTINCT how FROM mallory.attempt WHERE outcome = 'done'}),
	'', 'and gets no further right');

# The same in a constraint trigger that waits for the commit, when the worker's
# own rights might be back.
$node->safe_psql(
	'postgres', q{
	SET ROLE mallory;
	DROP TRIGGER climb ON mallory.climber;
	DELETE FROM mallory.attempt;
	CREATE CONSTRAINT TRIGGER climb AFTER INSERT OR UPDATE ON mallory.climber
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.climb()});
sell($node, 'postgres', 20);
is_failing('climber', qr/deferred trigger/);
is($node->safe_psql('postgres', 'SELECT count(*) FROM mallory.attempt'), '0', 'a deferred trigger on the read table does not run');
$node->safe_psql('postgres', 'ALTER TABLE mallory.climber DISABLE TRIGGER climb');
recovers('climber');
is( $node->safe_psql('postgres', q{SELECT rolsuper, (SELECT count(*) FROM ledger WHERE amount = 0) FROM pg_roles WHERE rolname = 'mallory'}),
	'f|0', 'nothing was gained');
follows($node, 'postgres', 'the projections of others go on');

done_testing();
