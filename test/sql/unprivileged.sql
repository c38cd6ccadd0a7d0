-- Every function of the extension, called by a role that has been granted
-- nothing. A function without a case here makes the test fail.

\set SHOW_CONTEXT never
CREATE ROLE regress_anybody;
CREATE SCHEMA regress_unprivileged;
GRANT USAGE ON SCHEMA regress_unprivileged TO regress_anybody;
SET search_path = regress_unprivileged;
SELECT evstore.create_event_table();
CREATE TABLE plain (x integer);
CREATE VIEW window_on_events AS SELECT * FROM events;
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}');
SELECT evstore.create_projection('regress_unprivileged', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');
SELECT evstore.wait_for('regress_unprivileged');
CREATE FUNCTION fold(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE sql AS 'SELECT e.data';
CREATE FUNCTION pay(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS
	$$SELECT 'Paid', '{}'::jsonb, NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer$$;
SELECT evstore.create_aggregate('order', 'fold', snapshot_every => 100);
SELECT evstore.create_command('pay', 'order', 'pay');
CREATE FUNCTION newer(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT data';
SELECT evstore.create_upcaster('Shaped', 1, 'newer');
SELECT evstore.create_event_type('Shaped');

-- One case, or more, a function: what it gives to somebody without rights.
CREATE TABLE trial (function regprocedure, call text);
INSERT INTO trial VALUES
	('evstore.append(text,text,jsonb,jsonb,bigint,uuid,text[],regclass,integer)', $$evstore.append('order-1', 'T', jsonb '{}')$$),
	('evstore.append(text,text,text,text,bigint,uuid,text[],regclass,integer)', $$evstore.append('order-1', 'T', '{}')$$),
	('evstore.append(text,text,text,text,bigint,uuid,text[],regclass,integer)', $$evstore.append('new-1', 'T', '{}', expected_version => 0)$$),
	('evstore.append(text,text,text,text,bigint,uuid,text[],regclass,integer)', $$evstore.append('order-1', 'T', '{}', expected_version => 9)$$),
	('evstore.append(text,evstore.new_event[],bigint,regclass)', $$evstore.append('order-1', evstore.events('[{"type": "T", "data": {}}]'))$$),
	('evstore.append_streams(evstore.stream_append[],regclass)',
		$$evstore.append_streams(ARRAY[('order-1', evstore.events('[{"type": "T", "data": {}}]'), NULL)]::evstore.stream_append[])$$),
	('evstore.append_streams(evstore.stream_append[],regclass)',
		$$evstore.append_streams(ARRAY[('order-1', NULL, 1)]::evstore.stream_append[])$$),
	('evstore.expect_version(text,bigint,regclass)', $$evstore.expect_version('order-1', 1)$$),
	('evstore.append_if(evstore.new_event[],jsonb,bigint,text,regclass)',
		$$evstore.append_if(evstore.events('[{"type": "T", "data": {}}]'), '{"items": [{"types": ["T"]}]}')$$),
	('evstore.events(jsonb)', $$cardinality(evstore.events('[{"type": "T", "data": {}}]'))$$),
	('evstore.read_stream(text,bigint,bigint,boolean,regclass)', $$evstore.read_stream('order-1')$$),
	('evstore.read_stream(text,bigint,bigint,boolean,regclass)', $$evstore.read_stream('order-1', backwards => true)$$),
	('evstore.read_events(bigint,bigint,text[],text[],regclass)', $$evstore.read_events()$$),
	('evstore.read_by(jsonb,bigint,bigint,regclass)', $$evstore.read_by('{}')$$),
	('evstore.read_position()', $$evstore.read_position() IS NULL$$),
	('evstore.stream_version(text,regclass)', $$evstore.stream_version('order-1')$$),
	('evstore.stream_version(text,regclass)', $$evstore.stream_version('no-such')$$),
	('evstore.create_event_table(text)', $$evstore.create_event_table('mine')$$),
	('evstore.create_event_table(text)', $$evstore.create_event_table('evstore.mine')$$),
	('evstore.create_event_table(text)', $$evstore.create_event_table('pg_catalog.mine')$$),
	('evstore.create_event_table(text)', $$evstore.create_event_table('pg_temp.mine')$$),
	('evstore.drop_event_table(regclass)', $$evstore.drop_event_table('events')$$),
	('evstore.drop_event_table(regclass)', $$evstore.drop_event_table('plain')$$),
	('evstore.protect(regclass)', $$evstore.protect('plain')$$),
	('evstore.protect(regclass)', $$evstore.protect('pg_catalog.pg_class')$$),
	('evstore.create_projection(text,text,text,text,jsonb,text,text,regclass,integer,text,integer,interval,integer,text[],integer)',
		$$evstore.create_projection('mine', 'SELECT type, count(*) AS n FROM events GROUP BY type', read_table => 'pg_temp.mine')$$),
	('evstore.create_projection(text,text,text,text,jsonb,text,text,regclass,integer,text,integer,interval,integer,text[],integer)',
		$$evstore.create_projection('mine', statement => 'DELETE FROM plain')$$),
	('evstore.create_projection(text,text,text,text,jsonb,text,text,regclass,integer,text,integer,interval,integer,text[],integer)',
		$$evstore.create_projection('mine', statement => 'INSERT INTO plain SELECT version FROM new_events')$$),
	('evstore.drop_projection(text,boolean)', $$evstore.drop_projection('regress_unprivileged')$$),
	('evstore.pause_projection(text)', $$evstore.pause_projection('regress_unprivileged')$$),
	('evstore.resume_projection(text)', $$evstore.resume_projection('regress_unprivileged')$$),
	('evstore.set_projection(text,integer,text,integer,interval,integer,text,integer)', $$evstore.set_projection('regress_unprivileged', batch_size => 1)$$),
	('evstore.retry_projection(text)', $$evstore.retry_projection('regress_unprivileged')$$),
	('evstore.replay_parked(text,text,regclass)', $$evstore.replay_parked('regress_unprivileged', 'order-1')$$),
	('evstore.explain_projection(text)', $$evstore.explain_projection('regress_unprivileged')$$),
	('evstore.wait_for(text,bigint,interval)', $$evstore.wait_for('regress_unprivileged')$$),
	('evstore.create_aggregate(text,text,text,integer,regclass)', $$evstore.create_aggregate('mine', 'regress_unprivileged.fold')$$),
	('evstore.drop_aggregate(text,regclass)', $$evstore.drop_aggregate('order')$$),
	('evstore.drop_snapshots(text,regclass)', $$evstore.drop_snapshots('order')$$),
	('evstore._handling(evstore.event,bigint,uuid,jsonb)', $$(evstore._handling(ROW(1, 1, now(), 1, NULL, 's', 't', '{}', NULL, NULL)::evstore.event, 1, NULL, NULL)).stream$$),
	('evstore.trace(text,regclass)', $$evstore.trace('x')$$),
	('evstore.load(text,bigint,timestamp with time zone,regclass)', $$evstore.load('order-1')$$),
	('evstore.load(text,bigint,timestamp with time zone,regclass)', $$evstore.load('other-1')$$),
	('evstore.load_as(anyelement,text,bigint,timestamp with time zone,regclass)', $$evstore.load_as(NULL::jsonb, 'order-1')$$),
	('evstore.create_command(text,text,text,regclass)', $$evstore.create_command('mine', 'order', 'regress_unprivileged.pay')$$),
	('evstore.drop_command(text,text,regclass)', $$evstore.drop_command('pay', 'order')$$),
	('evstore.execute(text,text,jsonb,uuid,bigint,integer,regclass)', $$evstore.execute('order-1', 'pay')$$),
	('evstore.execute(text,text,jsonb,uuid,bigint,integer,regclass)',
		$$evstore.execute('order-1', 'pay', command_id => '00000000-0000-0000-0000-000000000001')$$),
	('evstore.wait_for(text[],bigint,interval)', $$evstore.wait_for(ARRAY['regress_unprivileged'])$$),
	('evstore.wait_for_all(bigint,interval)', $$evstore.wait_for_all()$$),
	('evstore.verify_projection(text,double precision)', $$evstore.verify_projection('regress_unprivileged')$$),
	('evstore.projection_as_of(anyelement,bigint,timestamp with time zone)', $$evstore.projection_as_of(NULL::regress_unprivileged, 0)$$),
	('evstore.rebuild_projection(text)', $$evstore.rebuild_projection('regress_unprivileged')$$),
	('evstore.replace_projection(text,text,text,text,jsonb,text[])', $$evstore.replace_projection('regress_unprivileged', 'SELECT')$$),
	('evstore.cancel_rebuild(text)', $$evstore.cancel_rebuild('regress_unprivileged')$$),
	('evstore._nearly_equal(double precision,double precision,double precision)', $$evstore._nearly_equal(1, 1.1, 0.1)$$),
	('evstore.first(anyelement,bigint)', $$evstore.first('a'::text, 1)$$),
	('evstore.last(anyelement,bigint)', $$evstore.last('a'::text, 1)$$),
	('evstore.new_event(text,jsonb,jsonb,uuid,text[],integer)', $$evstore.new_event('T', '{}')$$),
	('evstore.create_event_type(text,integer,text,jsonb,regclass)', $$evstore.create_event_type('T')$$),
	('evstore.drop_event_type(text,integer,regclass)', $$evstore.drop_event_type('Shaped')$$),
	('evstore.create_upcaster(text,integer,text,regclass)', $$evstore.create_upcaster('T', 1, 'regress_unprivileged.newer')$$),
	('evstore.drop_upcaster(text,integer,regclass)', $$evstore.drop_upcaster('Shaped', 1)$$),
	-- private, but open to all
	('evstore._upcast(oid,bigint,bigint,timestamp with time zone,integer,uuid,text,text,jsonb,jsonb,text[])',
		$$evstore._upcast('events'::regclass, 1, 1, now(), 1, NULL, 'order-1', 'Shaped', '{}', NULL, NULL)$$),
	('evstore._upcast_here(oid,bigint,bigint,timestamp with time zone,integer,uuid,text,text,jsonb,jsonb,text[])',
		$$evstore._upcast_here(0, 1, 1, now(), 1, NULL, 'order-1', 'Shaped', '{}', NULL, NULL)$$),
	('evstore._upcast_data(oid,bigint,text,integer,jsonb)', $$evstore._upcast_data('events'::regclass, 1, 'Shaped', 1, '{}')$$),
	('evstore._upcast_data_here(oid,bigint,text,integer,jsonb)', $$evstore._upcast_data_here('plain'::regclass, 1, 'Shaped', 1, '{}')$$),
	('evstore._upcast_version(oid,text,integer)', $$evstore._upcast_version('events'::regclass, 'Shaped', 1)$$),
	('evstore._shape_changes()', $$evstore._shape_changes()$$),
	('evstore._kept_in(text)', $$evstore._kept_in('no_such_view') IS NULL$$),
	('evstore._safe_position()', $$evstore._safe_position() > 0$$),
	('evstore._appenders()', $$evstore._appenders()$$),
	('evstore._lag_seconds(regclass,bigint)', $$evstore._lag_seconds('events', 0)$$),
	('evstore._lag_seconds(regclass,bigint)', $$evstore._lag_seconds('plain', 0)$$),
	('evstore._projection_progress(integer)', $$(evstore._projection_progress(0)).taken$$),
	('evstore._partial_step(internal,regprocedure,regcollation,anyelement,"any")', $$evstore._partial_step(NULL, 'stddev(integer)', '-', NULL::bytea, 1)$$),
	('evstore._partial_final(internal,regprocedure,regcollation,anyelement,"any")', $$evstore._partial_final(NULL, 'stddev(integer)', '-', NULL::bytea, 1)$$),
	('evstore._partial_merge(internal,internal)', $$evstore._partial_merge(NULL, NULL)$$),
	('evstore._partial_send(internal)', $$evstore._partial_send(NULL)$$),
	('evstore._partial_receive(bytea,internal)', $$evstore._partial_receive('\x00', NULL)$$),
	('evstore._partial(regprocedure,regcollation,anyelement,"any")', $$evstore._partial('stddev(integer)', '-', 1, 1)$$),
	('evstore._partial(regprocedure,regcollation,anyelement,"any")', $$evstore._partial('max(text)', '-', ''::text, 'x'::text)$$),
	('evstore._partial(regprocedure,regcollation,anyelement,"any")', $$evstore._partial('max(text)', '"C"', ''::text, 'x'::text)$$),
	('evstore._partial(regprocedure,regcollation,anyelement,"any")', $$evstore._partial('max(text)', '"C"', ''::text, VARIADIC '{x}'::text[])$$),
	('evstore._partial(regprocedure,regcollation,anyelement,"any")', $$evstore._partial('rank("any")', '-', ''::bytea, 1)$$),
	('evstore._partial(regprocedure,regcollation,anyelement,"any")', $$evstore._partial('percentile_cont(double precision,interval)', '-', ''::bytea, 1)$$),
	('evstore._partial_unsafe(regprocedure,regcollation,anyelement,"any")', $$evstore._partial_unsafe('avg(integer)', '-', ''::text, 1)$$),
	('evstore._partial_unsafe(regprocedure,regcollation,anyelement,"any")', $$evstore._partial_unsafe('max(anyarray)', '-', '{1}'::integer[], '{2}'::integer[])$$),
	('evstore._partial_unsafe(regprocedure,regcollation,anyelement,"any")', $$evstore._partial_unsafe('max(anyarray)', '-', '{1}'::integer[], '{2}'::text[])$$),
	('evstore._partial_unsafe(regprocedure,regcollation,anyelement,"any")', $$evstore._partial_unsafe('max(anyarray)', '-', '{1}'::integer[], 2)$$),
	('evstore._combine(regprocedure,regcollation,anyelement,anyelement)', $$evstore._combine('stddev(integer)', '-', '\x', '\x'::bytea)$$),
	('evstore._combine(regprocedure,regcollation,anyelement,anyelement)', $$evstore._combine('avg(integer)', '-', '{1,2}'::bigint[], '{1}'::bigint[])$$),
	('evstore._combine(regprocedure,regcollation,anyelement,anyelement)', $$evstore._combine('max(anyarray)', '-', '{1,2}'::bigint[], '{3}'::bigint[])$$),
	('evstore._combine(regprocedure,regcollation,anyelement,anyelement)', $$evstore._combine('max(anyarray)', '-', 1, 2)$$),
	('evstore._combine(regprocedure,regcollation,anyelement,anyelement)', $$evstore._combine('range_intersect_agg(anyrange)', '-', '[1,5)'::int4range, '[2,9)'::int4range)$$),
	('evstore._combine(regprocedure,regcollation,anyelement,anyelement)', $$evstore._combine('range_intersect_agg(anyrange)', '-', 'x'::text, 'y'::text)$$),
	('evstore._combine(regprocedure,regcollation,anyelement,anyelement)', $$evstore._combine('max(text)', '-', 'x'::text, 'y'::text)$$),
	('evstore._combine(regprocedure,regcollation,anyelement,anyelement)', $$evstore._combine('min(xid8)', '-', '1'::xid8, '2'::xid8)$$),
	('evstore._final(regprocedure,regcollation,"any",anyelement)', $$evstore._final('stddev(integer)', '-', NULL::bytea, NULL::numeric)$$),
	('evstore._final(regprocedure,regcollation,"any",anyelement)', $$evstore._final('max(anyarray)', '-', '{1}'::integer[], NULL::integer[])$$),
	('evstore._final(regprocedure,regcollation,"any",anyelement)', $$evstore._final('max(anyarray)', '-', '{1}'::integer[], NULL::text[])$$),
	('evstore._final(regprocedure,regcollation,"any",anyelement)', $$evstore._final('array_agg(anynonarray)', '-', NULL::bytea, NULL::text[])$$),
	('evstore._bounded(anyelement,text)', $$evstore._bounded('x'::text, 'x')$$),
	('evstore._bounded(anyelement,text)', $$evstore._bounded(NULL::text, 'x')$$),
	('evstore._counters()', $$(evstore._counters()).conflicts >= 0$$),
	('evstore._projection_stats()', $$count(*) > 0 FROM evstore._projection_stats()$$),
	('evstore._batch_from()', $$evstore._batch_from()$$),
	('evstore._batch_to()', $$evstore._batch_to()$$),
	('evstore._shard_from()', $$evstore._shard_from()$$),
	('evstore._shard_to()', $$evstore._shard_to()$$),
	('evstore._shard_number()', $$evstore._shard_number()$$),
	('evstore._shard_count()', $$evstore._shard_count()$$),
	('evstore._hash(bigint,"any")', $$evstore._hash(0, 'order-1'::text) = evstore._hash(0, 'order-1'::varchar)$$),
	('evstore._hash(bigint,"any")', $$evstore._hash(0, NULL) = evstore._hash(0, NULL::jsonb)$$),
	('evstore._hash(bigint,"any")', $$evstore._hash(0, '(0,0)'::point)$$),
	('evstore._in_shard(bigint,integer,integer)', $$evstore._in_shard(-1, 0, 1)$$),
	('evstore._in_shard(bigint,integer,integer)', $$evstore._in_shard(7, 0, 0)$$),
	('evstore._take_snapshot(text,regclass)', $$evstore._take_snapshot('order-1', 'events')$$),
	('evstore._insert()', $$evstore._insert()$$),
	('evstore._guard()', $$evstore._guard()$$),
	('evstore._inline()', $$evstore._inline()$$),
	('evstore._projection_arrives()', $$evstore._projection_arrives()$$),
	('evstore._first_step(internal,anyelement,bigint)', $$evstore._first_step(NULL, 1, 1)$$),
	('evstore._last_step(internal,anyelement,bigint)', $$evstore._last_step(NULL, 1, 1)$$),
	('evstore._pick_final(internal,anyelement,bigint)', $$evstore._pick_final(NULL, 1, 1)$$);
SELECT p.oid::regprocedure AS function_without_a_case
FROM pg_proc p LEFT JOIN trial ON trial.function = p.oid
WHERE p.pronamespace = 'evstore'::regnamespace AND trial.function IS NULL;

-- Call something as a role, and say what came of it; what it did is undone.
CREATE FUNCTION call(what text, role name DEFAULT 'regress_anybody') RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	answer text;
BEGIN
	BEGIN
		PERFORM set_config('role', role, true);
		EXECUTE 'SELECT ' || what INTO answer;
		RAISE EXCEPTION '%', coalesce('gives ' || answer, 'gives nothing') USING ERRCODE = 'ZZ000';
	EXCEPTION WHEN OTHERS THEN
		-- how the server says that nobody has a value of type internal to give, depends on its minor version
		RETURN CASE WHEN SQLSTATE = 'ZZ000' THEN SQLERRM
			WHEN what ~ '^evstore._(partial|first|last|pick)_(step|final|merge|send|receive)' THEN 'cannot be called ' || replace(SQLSTATE, '0A000', '42883')
			ELSE SQLSTATE || ' ' || SQLERRM END;
	END;
END
$$;
\pset format unaligned
\pset tuples_only on
SELECT call, call(call) AS outcome FROM trial;
\pset format aligned
\pset tuples_only off

-- What makes no sense is refused in words, whoever says it: nothing that one can
-- say to a function is an error that cannot happen, or takes the server down.
-- Each argument by turns takes each value of its kind, the others being ordinary.
CREATE TABLE sample (type regtype, value text);
INSERT INTO sample SELECT type, unnest(sample.values) FROM (VALUES
	('text'::regtype, ARRAY['order-1', NULL, '', '-', 'regress_unprivileged', 'order', 'fold', 'pay', repeat('x', 3000), '"', 'a.b.c.d', 'pg_catalog.pg_class']),
	('bigint', ARRAY['1', NULL, '0', '-1', '9223372036854775807', '-9223372036854775808']),
	('integer', ARRAY['1', NULL, '0', '-1', '2147483647', '-2147483648']),
	('timestamptz', ARRAY['2026-01-01', NULL, 'infinity', '-infinity']),
	('evstore.event', ARRAY['(1,1,2026-01-01,1,,order-1,T,{},,)', NULL, '(,,,,,,,,,)', '(1,1,2026-01-01,1,,order-1,T,{},[],)']),
	('regclass', ARRAY['regress_unprivileged.events', NULL, '0', '4294967295', 'regress_unprivileged.plain', 'regress_unprivileged.window_on_events',
		'regress_unprivileged.events_pkey', 'evstore.position_sequence', 'pg_catalog.pg_authid', 'evstore._projection', 'evstore.event']),
	('jsonb', ARRAY['{}', NULL, 'null', '[]', '[null]', '[{"type": "T", "data": {}, "tags": [1]}]', '0',
		'{"items": null}', '{"items": [{}]}', '{"items": [{"types": ["T"]}, {"tags": ["a", "b"]}]}', '{"items": [{"tags": {"a": 1}}]}']),
	('text[]', ARRAY['{a}', NULL, '{}', '{NULL}', '{{a},{b}}', '[5:6]={a,b}']),
	('uuid', ARRAY['00000000-0000-0000-0000-000000000001', NULL]),
	('boolean', ARRAY['true', NULL]),
	('double precision', ARRAY['1', NULL, '0', '-1', 'NaN', 'Infinity']),
	('interval', ARRAY['0', NULL, '-1 day', '-178000000 years']),
	('evstore.new_event[]', ARRAY['{"(T,{},,,,)"}', NULL, '{}', '{NULL}', '{"(,,,,,)"}', '{{"(T,{},,,,)"},{"(T,{},,,,)"}}']),
	('evstore.stream_append[]', ARRAY['{"(order-1,\"{\"\"(T,{},,,,)\"\"}\",1)"}', NULL, '{}', '{NULL}', '{"(,,)"}', '{"(order-1,,)"}', '{"(order-1,,1)","(order-1,,1)"}']),
	('regprocedure', ARRAY['pg_catalog.stddev(integer)', NULL, '0', '4294967295', 'pg_catalog.max(integer)', 'pg_catalog.count()', 'pg_catalog.int4pl(integer,integer)',
		'pg_catalog.array_agg(anynonarray)', 'pg_catalog.json_agg(anyelement)', 'pg_catalog.max(anyarray)', 'pg_catalog.range_intersect_agg(anyrange)', 'pg_catalog.row_number()']),
	('regcollation', ARRAY['-', NULL, '"C"', '4294967295']),
	('bytea', ARRAY['\x00', NULL, '\x']),
	('"any"', ARRAY['1', NULL]),
	('oid', ARRAY['1259', NULL, '0', '4294967295']),
	('anyelement', ARRAY['1', NULL])) sample(type, values);
CREATE TEMP VIEW odd_call AS
	SELECT p.oid::regprocedure AS function, format('%s(%s)', p.oid::regproc,
		(SELECT string_agg(CASE WHEN type.oid = 'internal'::regtype THEN 'NULL' ELSE
				format('%L::%s', CASE number WHEN odd.number THEN odd.value ELSE (SELECT value FROM sample s WHERE s.type = type.oid LIMIT 1) END,
					CASE WHEN type.oid IN ('anyelement'::regtype, '"any"'::regtype) THEN 'integer' ELSE type.oid::regtype::text END) END, ', ' ORDER BY number)
			FROM unnest(p.proargtypes) WITH ORDINALITY type(oid, number))) AS call
	FROM pg_proc p, LATERAL (
		SELECT number, sample.value FROM unnest(p.proargtypes) WITH ORDINALITY type(oid, number) JOIN sample ON sample.type = type.oid) odd
	WHERE p.pronamespace = 'evstore'::regnamespace;
SELECT DISTINCT format_type(type.oid, NULL) AS type_without_values
FROM pg_proc p, unnest(p.proargtypes) type(oid)
WHERE p.pronamespace = 'evstore'::regnamespace AND type.oid NOT IN (SELECT type FROM sample) AND type.oid <> 'internal'::regtype;
SET statement_timeout = '60s';
SELECT count(*) > 200 AS enough FROM odd_call;
SELECT call, call(call) FROM odd_call WHERE call(call) ~ '^XX';
SELECT call, call(call, session_user) FROM odd_call WHERE call(call, session_user) ~ '^XX';
RESET statement_timeout;

SELECT version, type FROM events ORDER BY position;
SELECT type, n FROM regress_unprivileged;
SET evstore.maintenance = on;
SET client_min_messages = warning;
SELECT evstore.drop_projection('regress_unprivileged');
SELECT evstore.drop_command('pay', 'order');
SELECT evstore.drop_aggregate('order');
SELECT evstore.drop_event_type('Shaped');
SELECT evstore.drop_upcaster('Shaped', 1);
RESET search_path;
DROP SCHEMA regress_unprivileged CASCADE;
DROP ROLE regress_anybody;
