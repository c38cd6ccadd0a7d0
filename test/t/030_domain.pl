# Aggregates and commands under load: sixteen sessions on one account, which
# never falls below zero; repeated commands, also from a server that was killed;
# snapshots that come and go beside; and a dump that brings it all back.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 16;
my $node = start_node(
	'main', conf => q{
max_connections = 50
log_statement = none
});
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();
	CREATE TYPE account AS (balance numeric, events integer);
	CREATE FUNCTION apply(a account, e evstore.event) RETURNS account LANGUAGE plpgsql AS $$
	BEGIN
		a.balance := coalesce(a.balance, 0) + (e.data->>'amount')::numeric;
		a.events := coalesce(a.events, 0) + 1;
		RETURN a;
	END $$;
	CREATE FUNCTION withdraw(a account, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
	BEGIN
		IF coalesce(a.balance, 0) < (command->>'amount')::numeric THEN
			RAISE EXCEPTION 'not enough' USING ERRCODE = 'BANK1';
		END IF;
		RETURN QUERY SELECT 'Withdrawn', jsonb_build_object('amount', -(command->>'amount')::numeric, 'seen', a.events),
			NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer;
	END $$;
	CREATE FUNCTION deposit(a account, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS $$
		SELECT 'Deposited', command || jsonb_build_object('seen', coalesce(a.events, 0)), NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer $$;
	SELECT evstore.create_aggregate('account', 'apply', snapshot_every => 50);
	SELECT evstore.create_command('withdraw', 'account', 'withdraw');
	SELECT evstore.create_command('deposit', 'account', 'deposit');
	CREATE TABLE refused (n integer);
	-- one attempt; a refusal is noted
	CREATE FUNCTION attempt(stream text, command text, amount numeric) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM evstore.execute(stream, command, jsonb_build_object('amount', amount));
	EXCEPTION WHEN SQLSTATE 'BANK1' THEN
		INSERT INTO refused VALUES (1);
	END $$;});

# Let every client of pgbench run the scripts so many times.
sub load
{
	my ($test_name, $times, %scripts) = @_;
	$node->pgbench("-n -c $clients -j 2 -t $times",
		0, [qr/processed: @{[$clients * $times]}\//], [qr/^$/], $test_name, {%scripts});
	return;
}

# What the log says of an account: commands decided on the state just before them, and no balance below zero.
sub check_account
{
	my ($stream, $test_name) = @_;
	is( $node->safe_psql(
			'postgres', qq{
			SELECT count(*) FILTER (WHERE (data->>'seen')::bigint <> version - 1) AS stale,
				count(*) FILTER (WHERE balance < 0) AS below
			FROM (SELECT *, sum((data->>'amount')::numeric) OVER (ORDER BY version) AS balance
				FROM events WHERE stream = '$stream') e}),
		'0|0',
		$test_name);
	return;
}

# One hot account.
$node->safe_psql('postgres', q{SELECT evstore.execute('account-hot', 'deposit', '{"amount": 500}')});
load(
	'sixteen sessions on one stream', 60,
	'030_withdraw@3' => q{SELECT attempt('account-hot', 'withdraw', 7)},
	'030_deposit@1' => q{SELECT attempt('account-hot', 'deposit', 5)});
check_account('account-hot', 'every command decided on the true latest state');
is( $node->safe_psql(
		'postgres', q{SELECT (SELECT count(*) FROM events WHERE stream = 'account-hot') - 1 + (SELECT count(*) FROM refused)}),
	$clients * 60,
	'every command was executed or refused');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM refused'), '>', 0, 'some were refused');

# Snapshots came beside, and change no answer.
$node->safe_psql('postgres', q{SELECT evstore.wait_for(name) FROM evstore.projections});
cmp_ok($node->safe_psql('postgres', 'SELECT version FROM evstore._snapshot'), '>=', 50, 'there is a snapshot');
my $state = $node->safe_psql('postgres', q{SELECT * FROM evstore.load('account-hot')});
$node->safe_psql('postgres', q{SELECT evstore.drop_snapshots('account')});
is($node->safe_psql('postgres', q{SELECT * FROM evstore.load('account-hot')}), $state, 'the same without snapshots');

# Many accounts, and every command sent twice.
load(
	'repeated commands', 30,
	'030_twice' => q{
		\set account random(1, 5)
		\set number random(1, 200)
		SELECT evstore.execute('account-' || :account, 'deposit', '{"amount": 1}',
			command_id => md5(:account || '.' || :number)::uuid);
		SELECT evstore.execute('account-' || :account, 'deposit', '{"amount": 1}',
			command_id => md5(:account || '.' || :number)::uuid);});
is( $node->safe_psql('postgres', q{SELECT count(*) - count(DISTINCT id) FROM events WHERE stream <> 'account-hot'}),
	'0', 'each once');
check_account("account-$_", "account $_ in order") for 1 .. 5;

# The answer survives a crash.
my $command = q{SELECT state, version, position, events FROM evstore.execute('account-crash', 'deposit', '{"amount": 3}',
	command_id => '00000000-0000-4000-8000-00000000000c')};
my $answer = $node->safe_psql('postgres', $command);
$node->safe_psql('postgres', q{SELECT evstore.execute('account-crash', 'withdraw', '{"amount": 1}')});
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $command), $answer, 'the first answer, after a crash');

# A dump brings back aggregates, commands, and what they say.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/domain.sql';
my $what = q{SELECT l.* FROM (SELECT DISTINCT stream FROM events) s CROSS JOIN LATERAL evstore.load(stream) l ORDER BY position};
my $loaded = $node->safe_psql('postgres', $what);
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is($node->safe_psql('restored', $what), $loaded, 'the same states after a restore');
is($node->safe_psql('restored', $command), $answer, 'the same command is still known');
is( $node->safe_psql('restored', q{SELECT version FROM evstore.execute('account-crash', 'withdraw', '{"amount": 1}')}),
	'3', 'and new ones are executed');

done_testing();
