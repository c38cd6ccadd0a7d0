# What declares, drops, rebuilds, verifies, divides, pauses and switches
# projections, and what changes upcasters, locks in one order: whoever meets
# whomever, the one waits for the other, and nobody in a circle.

use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EvstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('main', conf => "deadlock_timeout = '20ms'\nevstore.workers = 3\n");
make_store($node, 'postgres');

# A projection and its table are dropped in one transaction, while a batch is
# under way that has written the table, and has its checkpoint yet to move.
$node->safe_psql('postgres', q{
	CREATE TABLE gated (stream text);
	SELECT evstore.create_projection('gated', read_table => 'gated', statement => $$
		INSERT INTO gated SELECT stream FROM new_events;
		SELECT pg_advisory_xact_lock_shared(78) $$)});
sell($node, 'postgres', 5);
$node->safe_psql('postgres', 'SELECT evstore.wait_for_all()');
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(78)');
sell($node, 'postgres', 5);
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE objid = 78 AND NOT granted});
my ($out, $err) = ('', '');
my $drop = IPC::Run::start([ 'psql', '-XAtq', '-c', q{BEGIN; SELECT evstore.drop_projection('gated'); DROP TABLE gated; COMMIT},
	$node->connstr('postgres') ], '>', \$out, '2>', \$err);
eventually($node, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE '%DROP TABLE gated%' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()}, 'dropping waits for the batch');
$gate->quit;
$drop->finish;
is($err, '', 'and goes on after it');
is($node->safe_psql('postgres', q{SELECT to_regclass('gated') IS NULL}), 't', 'the table is gone');

# Everything at once, over projections of every kind.
$node->safe_psql('postgres', q{
	CREATE TABLE noted (stream text PRIMARY KEY, n bigint);
	CREATE TABLE handled (stream text PRIMARY KEY, n bigint);
	CREATE FUNCTION on_event(e evstore.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO handled AS h VALUES (e.stream, 1) ON CONFLICT (stream) DO UPDATE SET n = h.n + 1 $$;
	CREATE FUNCTION newer(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT $1';
	CREATE TABLE kind (kind text PRIMARY KEY, create_it text, replace_it text);
	INSERT INTO kind VALUES
	('query', $$SELECT evstore.create_projection('query', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream')$$,
		$$SELECT evstore.replace_projection('query', query => 'SELECT stream, count(*) AS n, max(version) AS v FROM events GROUP BY stream')$$),
	('view', $$SELECT evstore.create_projection('view', query => 'SELECT stream, count(*) * 2 AS n FROM events GROUP BY stream')$$,
		$$SELECT evstore.rebuild_projection('view')$$),
	('statement', $$SELECT evstore.create_projection('statement', read_table => 'noted', statement =>
			'INSERT INTO noted AS t SELECT stream, count(*) FROM new_events GROUP BY 1 ON CONFLICT (stream) DO UPDATE SET n = t.n + excluded.n')$$,
		$$SELECT evstore.replace_projection('statement', statement =>
			'INSERT INTO noted AS t SELECT stream, count(*) FROM new_events GROUP BY stream ON CONFLICT (stream) DO UPDATE SET n = t.n + excluded.n')$$),
	('handler', $$SELECT evstore.create_projection('handler', read_table => 'handled', handler => 'on_event')$$,
		$$SELECT evstore.replace_projection('handler', handler => 'on_event')$$);
	CREATE TABLE outcome (action text, kind text, state text, detail text);

	-- Does one thing again and again until told to stop, and notes the outcomes.
	CREATE TABLE stop (acting boolean);
	CREATE PROCEDURE act(action text, command text, pause float) LANGUAGE plpgsql AS $$
		DECLARE
			k kind;
			state text;
			detail text;
		BEGIN
			WHILE NOT EXISTS (SELECT FROM stop) LOOP
				SELECT * INTO k FROM kind ORDER BY random() LIMIT 1;
				state := '00000';
				detail := NULL;
				BEGIN
					EXECUTE CASE command WHEN 'create_it' THEN k.create_it WHEN 'replace_it' THEN k.replace_it
						ELSE format(command, k.kind) END;
				EXCEPTION WHEN OTHERS THEN
					GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, detail = PG_EXCEPTION_DETAIL;
				END;
				INSERT INTO outcome VALUES (action, k.kind, state, detail);
				COMMIT;
				PERFORM pg_sleep(random() * pause);
			END LOOP;
		END $$;
});
my %actions = (
	create => [ 'create_it', 0.02 ],
	drop => [ q{SELECT evstore.drop_projection(%L)}, 0.3 ],
	replace => [ 'replace_it', 0.05 ],
	rebuild => [ q{SELECT evstore.rebuild_projection(%L)}, 0.05 ],
	cancel => [ q{SELECT evstore.cancel_rebuild(%L)}, 0.2 ],
	verify => [ q{SELECT evstore.verify_projection(%L)}, 0.05 ],
	explain => [ q{SELECT evstore.explain_projection(%L)}, 0.05 ],
	shards => [ q{SELECT evstore.set_projection(%L, shards => 1 + (random() * 2)::integer)}, 0.1 ],
	inline => [ q{SELECT evstore.set_projection(%L, mode => 'inline')}, 0.05 ],
	async => [ q{SELECT evstore.set_projection(%L, mode => 'async')}, 0.05 ],
	pause => [ q{SELECT evstore.pause_projection(%L)}, 0.1 ],
	resume => [ q{SELECT evstore.resume_projection(%L)}, 0.02 ],
	upcast => [ q{SELECT evstore.create_upcaster('Sold', 1, 'newer')}, 0.1 ],
	downcast => [ q{SELECT evstore.drop_upcaster('Sold', 1)}, 0.1 ],
	append => [ q{SELECT sell(1)}, 0.002 ],
	read => [ q{SELECT count(*) FROM %I}, 0.02 ]);
my @acting = map {
	[ $_, IPC::Run::start([ 'psql', '-XAtq', '-c', "CALL act('$_', \$\$$actions{$_}[0]\$\$, $actions{$_}[1])", $node->connstr('postgres') ],
		'>', \my $said, '2>', \my $wrong) ] } sort keys %actions;
eventually($node, 'postgres', q{SELECT min(n) >= 10 FROM (SELECT count(o.action) AS n FROM kind
	CROSS JOIN unnest('{create,drop,replace,rebuild,cancel,verify,explain,shards,inline,async,pause,resume,upcast,downcast,append}'::text[]) a
	LEFT JOIN outcome o ON o.action = a AND o.kind = kind.kind GROUP BY kind.kind, a) done}, 'everything was done many times');
$node->safe_psql('postgres', 'INSERT INTO stop VALUES (true)');
$_->[1]->finish for @acting;
is($node->safe_psql('postgres', q{SELECT action, kind, detail FROM outcome WHERE state = '40P01'}), '', 'nobody waited in a circle');
is($node->safe_psql('postgres', q{SELECT count(*) FROM outcome WHERE action = 'append' AND state <> '00000'}), '0', 'nobody who appends was refused');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'nor did a worker');
$node->safe_psql('postgres', q{SELECT evstore.drop_projection(name) FROM evstore.projections WHERE name IN (SELECT kind FROM kind)});
follows($node, 'postgres', 'the other projections follow');
done_testing();
