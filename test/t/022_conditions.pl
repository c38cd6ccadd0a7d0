# Conditions under load.  Many sessions race for one seat: exactly one gets it,
# every time.  Sessions that have nothing to do with each other do not wait.  A
# retry gets the first answer, also from a server that was killed.  And the
# proof: random appends and conditions by many sessions, then the log is read
# again in the order of its positions, and every condition held where its
# events stand.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 16;
my $node = start_node(
	'main', conf => q{
max_connections = 50
deadlock_timeout = 100ms
log_statement = none
autovacuum = off
});
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION evstore;
	SELECT evstore.create_event_table();

	CREATE FUNCTION one(type text, tags text[], metadata jsonb DEFAULT NULL, id uuid DEFAULT NULL)
	RETURNS evstore.new_event[] LANGUAGE sql AS $$
		SELECT ARRAY[ROW(type, '{}', metadata, id, tags, NULL)::evstore.new_event] $$;
	CREATE FUNCTION tagged(VARIADIC tags text[]) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object('items', jsonb_build_array(jsonb_build_object('tags', tags))) $$;});

# Let every client of pgbench run the scripts so many times.
sub load
{
	my ($test_name, $times, $options, %scripts) = @_;
	$node->pgbench("-n -c $clients -j 2 -t $times $options",
		0, [qr/processed: @{[$clients * $times]}\//], [qr/^$/], $test_name, {%scripts});
	return;
}

# How many rows, or what else the query counts.
sub count
{
	my ($what) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM $what");
}

# Everybody wants the first free seat.  Who finds it taken has lost this seat,
# and sees the next one free: so there are at least so many seats as each
# session makes attempts.
my $attempts = 1000;
$node->safe_psql(
	'postgres', q{
	SELECT evstore.create_event_table('seats');
	CREATE TABLE late (seat integer, client integer);
	CREATE FUNCTION take(client integer) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		seat integer := 1 + coalesce((SELECT (data->>'seat')::integer FROM seats ORDER BY "position" DESC LIMIT 1), 0);
	BEGIN
		PERFORM evstore.append_if(
			ARRAY[ROW('Taken', jsonb_build_object('seat', seat, 'client', client), NULL, NULL, ARRAY['seat:' || seat, 'show'], NULL)::evstore.new_event],
			tagged('seat:' || seat), event_table => 'seats');
	EXCEPTION WHEN SQLSTATE 'VE004' THEN
		INSERT INTO late VALUES (seat, client);
	END
	$$;});
load("$clients sessions race for seats", $attempts, '', seat => "SELECT take(:client_id);\n");
my $seats = count('seats');
cmp_ok($seats, '>=', $attempts, 'there was a race for each of a thousand seats');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT data->'seat') || ' ' || max((data->>'seat')::integer) FROM seats}),
	"$seats $seats", 'each seat was taken once, no seat twice');
is($seats + count('late'), $attempts * $clients, 'everybody else was told that it is taken');
is(count(q{late l WHERE NOT EXISTS (SELECT FROM seats WHERE tags @> ARRAY['seat:' || l.seat] AND (data->>'client')::integer <> l.client)}),
	'0', 'by somebody else');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT data->'client') FROM seats}), $clients, 'everybody got one');
cmp_ok(count('(SELECT FROM late GROUP BY seat HAVING count(*) > 1) l'),
	'>', $attempts / 2, 'the test is worth something: for many seats, several were late');

# Everybody has a tag of their own, and keeps the transaction open.
my @sessions = map { $node->background_psql('postgres') } 1 .. $clients;
my @appended = map {
	$sessions[$_]->query_safe("BEGIN; SELECT 'appended' FROM evstore.append_if(one('Kept', '{own:$_}'), tagged('own:$_'))")
} 0 .. $#sessions;
is("@appended", join(' ', ('appended') x $clients), 'conditions on other tags do not wait for each other');
is(count('evstore.appenders'), $clients, 'all of them are open at once');
is(count('pg_locks WHERE NOT granted'), '0', 'and nobody waits');
# COPY takes part; who wants one of the tags waits for that session only
append_to_file($node->data_dir . '/copied', "copied\tKept\t{}\t{own:0,more}\n");
$sessions[0]->query_safe("COMMIT; BEGIN; COPY events (stream, type, data, tags) FROM 'copied'");
my $waiter = $node->background_psql('postgres', on_error_stop => 0);
$waiter->query_until(qr/asked/, "\\echo asked\nSELECT evstore.append_if(one('Kept', '{more}'), tagged('more'));\n\\echo :SQLSTATE\n");
eventually($node, 'postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted}, 'a condition on the tag of an open COPY waits', '1');
$_->query_safe('COMMIT') for @sessions[1 .. $#sessions];
is(count('pg_locks WHERE NOT granted'), '1', 'for that one, whoever else commits');
$sessions[0]->query_safe('COMMIT');
like($waiter->query('SELECT 1'), qr/VE004/, 'and finds what it committed');
is(count(q{events WHERE type = 'Kept'}), $clients + 1, 'all of them have committed');
$_->quit for @sessions, $waiter;

# Every call is made by every session, in the same order, some of them before
# the server is killed, some after.  An answer is kept in the transaction that
# got it.
my $calls = 150;
$node->safe_psql(
	'postgres', q{
	SELECT evstore.create_event_table('calls');
	CREATE TABLE answers (call integer, client integer, version bigint, "position" bigint);
	CREATE FUNCTION ids(call integer, n integer, type text DEFAULT 'Called') RETURNS evstore.new_event[] LANGUAGE sql AS $$
		SELECT array_agg(ROW(type, to_jsonb(g), NULL, md5(call || '/' || g)::uuid, ARRAY['call:' || call], NULL)::evstore.new_event ORDER BY g)
		FROM generate_series(1, n) g $$;
	CREATE FUNCTION call(call integer, client integer) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		v bigint;
		p bigint;
	BEGIN
		CASE call % 5
			WHEN 0 THEN SELECT version, "position" INTO v, p FROM evstore.append_if(ids(call, 2), tagged('call:' || call), event_table => 'calls');
			WHEN 1 THEN SELECT version, "position" INTO v, p FROM evstore.append_if(ids(call, 3), tagged('call:' || call),
				stream => 'call-' || call % 7, event_table => 'calls');
			WHEN 2 THEN SELECT version, "position" INTO v, p FROM evstore.append('once-' || call, ids(call, 2), 0, 'calls');
			WHEN 3 THEN SELECT version, "position" INTO v, p FROM evstore.append('call-' || call % 7, ids(call, 1), event_table => 'calls');
			WHEN 4 THEN SELECT max(version), max("position") INTO v, p FROM evstore.append_streams(ARRAY[
				('pair-' || call, ids(call, 1), 0), ('call-' || call % 7, ids(-call, 2), NULL)]::evstore.stream_append[], 'calls');
		END CASE;
		INSERT INTO answers VALUES (call, client, v, p);
	END
	$$;});
my $script = $node->basedir . '/calls';
append_to_file($script, "\\set call :call + 1\nSELECT call(:call, :client_id);\n");
# The first time, nobody comes to the end before the crash.
my $open = $node->background_psql('postgres', on_error_stop => 0);
$open->query_safe("SELECT pg_advisory_lock(1); BEGIN; SELECT evstore.append_if(ids(1000, 2), tagged('call:1000'), event_table => 'calls')");
my $first_script = "$script.first";
append_to_file($first_script, slurp_file($script) . "\\if :call >= $calls - 50\nSELECT pg_advisory_lock_shared(1);\n\\endif\n");
my ($out, $err) = ('', '');
my $cut_off = IPC::Run::start(
	[ 'pgbench', '-n', '-c', $clients, '-j', '2', '-t', $calls, '-D', 'call=0', '-f', $first_script, $node->connstr('postgres') ],
	'>', \$out, '2>', \$err);
$node->poll_query_until('postgres', "SELECT count(*) > 40 * $clients FROM answers") or die 'no answers came';
kill_server($node);
$cut_off->finish;
eval { $open->quit };
$node->start;
my $before = count('answers');
cmp_ok($before, '<', $calls * $clients, 'the test is worth something: the server was killed while calls were made');
load('after the crash, every call is made again', $calls, '-D call=0', again => slurp_file($script));
is(count('answers') - $before, $calls * $clients, 'each has an answer');
is( count('(SELECT FROM answers GROUP BY call HAVING count(DISTINCT ("position", version)) > 1) a'),
	'0', 'whoever asked, and whenever, got the same answer');
is( count(q{(SELECT stream, data, metadata, id FROM calls EXCEPT SELECT stream, data, metadata, id FROM calls c
		WHERE EXISTS (SELECT FROM answers a WHERE 'call:' || a.call = ANY (tags) AND a."position" BETWEEN c."position" AND c."position" + 2)
			OR tags[1] LIKE 'call:-%') c}),
	'0', 'and that is where the events are');
is(count('calls'), $calls / 5 * (2 + 3 + 2 + 1 + 3), 'each call was stored once');
is(count('(SELECT FROM calls GROUP BY stream, tags, data HAVING count(*) > 1) c'), '0', 'and none of its events twice');
is(count(q{calls WHERE tags @> '{call:1000}'}), '0', 'what was not committed is gone');
is($node->safe_psql('postgres', q{SELECT count("position") FROM evstore.append_if(ids(1000, 2), tagged('call:1000'), event_table => 'calls')}),
	'1', 'and can be appended anew');

# A retry whose condition has nothing to do with its own events, by all at once.
$node->safe_psql(
	'postgres', q{
	SELECT evstore.create_event_table('loose');
	CREATE TABLE loose_answers (call integer, "position" bigint);
	CREATE FUNCTION loose_call(call integer) RETURNS void LANGUAGE sql AS $$
		INSERT INTO loose_answers SELECT call, "position" FROM evstore.append_if(
			one('Loose', NULL, NULL, md5(call::text)::uuid), tagged('never'), event_table => 'loose') $$;});
load('retries that only their ids keep apart', 200, '-D call=0', loose => "\\set call :call + 1\nSELECT loose_call(:call);\n");
is(count('loose'), '200', 'each is stored once');
is(count('(SELECT DISTINCT call, "position" FROM loose_answers) a'), '200', 'each has one answer');

# The oracle.  Who appends under a condition says in the metadata which, and
# how many events of the same call come before this one.
$node->safe_psql(
	'postgres', q{
	SELECT evstore.create_event_table('log');
	SET evstore.event_table = 'log';
	CREATE TABLE refused (query jsonb, after bigint);

	CREATE FUNCTION a_type() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT 'T' || floor(4 * random())::integer $$;
	CREATE FUNCTION some_tags(most integer) RETURNS text[] LANGUAGE sql VOLATILE AS $$
		SELECT array_agg('t' || floor(8 * random())::integer) FROM generate_series(1, floor((most + 1) * random())::integer) $$;
	CREATE FUNCTION an_item() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
		SELECT CASE floor(5 * random())::integer
			WHEN 0 THEN jsonb_build_object('types', ARRAY[a_type()])
			WHEN 1 THEN jsonb_build_object('types', ARRAY[a_type(), a_type()], 'tags', ARRAY['t' || floor(8 * random())::integer])
			WHEN 2 THEN jsonb_build_object('tags', ARRAY['t' || floor(8 * random())::integer, 't' || floor(8 * random())::integer])
			ELSE jsonb_build_object('tags', ARRAY['t' || floor(8 * random())::integer]) END $$;
	CREATE FUNCTION a_query() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
		SELECT CASE floor(20 * random())::integer
			WHEN 0 THEN '{}'
			WHEN 1 THEN jsonb_build_object('items', jsonb_build_array(an_item(), an_item(), an_item()))
			WHEN 2 THEN jsonb_build_object('items', jsonb_build_array(an_item(), an_item()))
			ELSE jsonb_build_object('items', jsonb_build_array(an_item())) END $$;
	CREATE FUNCTION some_events(condition jsonb) RETURNS evstore.new_event[] LANGUAGE sql VOLATILE AS $$
		SELECT array_agg(ROW(a_type(), '{}', condition || jsonb_build_object('before', g), NULL, some_tags(3), NULL)::evstore.new_event)
		FROM generate_series(0, floor(2 * random())::integer) g $$;

	-- read, decide, and append if nothing has come
	CREATE FUNCTION decide() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		query jsonb := a_query();
		after bigint;
	BEGIN
		IF current_setting('transaction_isolation') <> 'read committed' THEN
			SELECT max("position") INTO after FROM log;
		ELSE
			SELECT max("position") INTO after FROM evstore.read_by(query, event_table => 'log');
			IF random() < 0.5 THEN
				after := evstore.read_position();
			END IF;
		END IF;
		PERFORM evstore.append_if(some_events(jsonb_build_object('query', query, 'after', coalesce(after, 0))), query, after,
			CASE WHEN random() < 0.3 THEN 's-' || floor(20 * random())::integer END, 'log');
	EXCEPTION WHEN SQLSTATE 'VE004' THEN
		INSERT INTO refused VALUES (query, after);
	END
	$$;

	-- what a query means, word by word
	CREATE FUNCTION means(query jsonb, type text, tags text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
		SELECT NOT query ? 'items' OR EXISTS (
			SELECT FROM jsonb_array_elements(query->'items') item
			WHERE (NOT item ? 'types' OR item->'types' ? type)
				AND NOT EXISTS (
					SELECT FROM jsonb_array_elements_text(CASE WHEN item ? 'tags' THEN item->'tags' ELSE '[]' END) tag
					WHERE tags IS NULL OR tag <> ALL (tags))) $$;});

my $append = q{SELECT evstore.append('s-' || :s, a_type(), '{}'::jsonb, tags => some_tags(3), event_table => 'log');};
my $insert = q{INSERT INTO log (stream, type, data, tags) VALUES ('s-' || :s, a_type(), '{}', some_tags(3));};
my $streams = q{SELECT count(*) FROM evstore.append_streams(ARRAY[('s-' || :s, some_events('{}'), NULL),
	('r-' || :s, some_events('{}'), NULL)]::evstore.stream_append[], 'log');};
my $draw = '\set s random(1, 20)';
my $end = "\\set fate random(1, 4)\n\\if :fate = 1\nROLLBACK;\n\\else\nCOMMIT;\n\\endif\n";

# One call a transaction: no error, and so no deadlock.
load('random appends and conditions, one call a transaction',
	100, '',
	'single_decide@5' => "SELECT decide();\n",
	'single_append@2' => "$draw\n$append\n",
	'single_insert@1' => "$draw\n$insert\n",
	'single_streams@1' => "$draw\n$streams\n",
	'single_open@2' => "$draw\nBEGIN;\n$append\n\\sleep 2 ms\n$end",
	'single_hold@2' => "BEGIN;\nSELECT decide();\n\\sleep 2 ms\n$end");
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'who calls once a transaction never gets into a deadlock');

# Several calls: those may deadlock, and pgbench tries them again.
load('random transactions of several calls',
	40, '--max-tries=1000',
	'both@2' => "$draw\nBEGIN;\n$append\nSELECT decide();\n$end",
	'twice@1' => "BEGIN;\nSELECT decide();\nSELECT decide();\n$end",
	'repeatable@2' => "$draw\nBEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM log;\n\\sleep 1 ms\nSELECT decide();\n$end",
	'savepoint@1' => "$draw\nBEGIN;\nSAVEPOINT one;\n$append\nROLLBACK TO SAVEPOINT one;\nSELECT decide();\n$end",
	'alone@2' => "SELECT decide();\n",
	'insert@1' => "$draw\nBEGIN;\n$insert\n\\sleep 1 ms\n$insert\n$end");

my $conditional = q{
	SELECT "position" - (metadata->>'before')::bigint AS first, (metadata->>'after')::bigint AS after, metadata->'query' AS query
	FROM log WHERE metadata ? 'query' AND (metadata->>'before')::integer = 0};
is( count(qq{($conditional) c JOIN log m ON m."position" > c.after AND m."position" < c.first AND means(c.query, m.type, m.tags)}),
	'0', 'no condition was broken where its events stand');
cmp_ok(count("($conditional) c"), '>', 200, 'the test is worth something: many appends had a condition that held');
cmp_ok(count('refused'), '>', 200, '... and many were refused');
cmp_ok(count(qq{($conditional) c WHERE EXISTS (SELECT FROM log m WHERE m."position" > c.after AND m."position" < c.first)}),
	'>', 100, '... others came in between');
is(count('pg_locks WHERE NOT granted'), '0', 'nobody waits at the end');

done_testing();
