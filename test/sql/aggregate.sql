-- Aggregates: the state of a stream, folded from its events.

CREATE SCHEMA regress_aggregate;
SET search_path = regress_aggregate;
SELECT evstore.create_event_table();

-- A state in jsonb, by PL/pgSQL.
CREATE FUNCTION apply_order(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE e.type
		WHEN 'OrderPlaced' THEN jsonb_build_object('status', 'placed', 'total', e.data->'total', 'paid', 0)
		WHEN 'OrderPaid' THEN state || jsonb_build_object('status', 'paid',
			'paid', (state->>'paid')::numeric + (e.data->>'amount')::numeric)
		WHEN 'OrderRefunded' THEN state || '{"status": "refunded", "paid": 0}'
		ELSE state
	END;
END $$;
SELECT evstore.create_aggregate('order', apply => 'apply_order', initial_state => '{"status": "new"}');
SELECT version FROM evstore.append('order-1', evstore.events('[
	{"type": "OrderPlaced", "data": {"total": 30}}, {"type": "OrderPaid", "data": {"amount": 10}},
	{"type": "OrderPaid", "data": {"amount": 20}}, {"type": "OrderSent", "data": {}}, {"type": "OrderRefunded", "data": {}}]'));
SELECT state, version, position = (SELECT max(position) FROM events) AS at_last FROM evstore.load('order-1');

-- Every version there ever was, from none.
SELECT v, l.state, l.version FROM generate_series(0, 6) v CROSS JOIN LATERAL evstore.load('order-1', as_of_version => v) l ORDER BY v;
-- As of a time: what had happened by then.
SELECT l.state, l.version FROM events e CROSS JOIN LATERAL evstore.load('order-1', as_of_time => e.recorded_at) l
WHERE e.stream = 'order-1' AND e.version = 5;
SELECT * FROM evstore.load('order-1', as_of_time => '2001-01-01');
SELECT state, version FROM evstore.load('order-1', as_of_time => 'infinity');
-- A stream without events, and one that is its own category.
SELECT * FROM evstore.load('order-none');
SELECT version FROM evstore.append('order', 'OrderPlaced', '{"total": 1}');
SELECT state, version FROM evstore.load('order');

-- The caller's own events, and the past of others' while they are open.
BEGIN;
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 7}');
SELECT state, version FROM evstore.load('order-1');
ROLLBACK;
SELECT state, version FROM evstore.load('order-1');

-- A composite state.
CREATE TYPE account AS (owner text, balance numeric, open boolean, last_entries text[]);
CREATE FUNCTION apply_account(a account, e evstore.event) RETURNS account LANGUAGE plpgsql AS $$
BEGIN
	CASE e.type
		WHEN 'Opened' THEN a := (e.data->>'owner', 0, true, '{}');
		WHEN 'Deposited' THEN a.balance := a.balance + (e.data->>'amount')::numeric;
		WHEN 'Withdrawn' THEN a.balance := a.balance - (e.data->>'amount')::numeric;
		WHEN 'Closed' THEN a.open := false;
		ELSE NULL;
	END CASE;
	a.last_entries := (a.last_entries || e.type)[greatest(cardinality(a.last_entries) - 1, 1):];
	RETURN a;
END $$;
SELECT evstore.create_aggregate('account', 'regress_aggregate.apply_account(account, evstore.event)');
SELECT version FROM evstore.append('account-1', evstore.events('[
	{"type": "Opened", "data": {"owner": "Ada"}}, {"type": "Deposited", "data": {"amount": 100}},
	{"type": "Withdrawn", "data": {"amount": 30.5}}, {"type": "Renamed", "data": {}}]'));
SELECT state, version FROM evstore.load('account-1');
SELECT * FROM evstore.load_as(NULL::account, 'account-1');
SELECT (evstore.load_as(NULL::account, 'account-1', as_of_version => 2)).balance;
SELECT evstore.load_as(NULL::account, 'account-none') IS NULL AS nobody;
SELECT * FROM evstore.load('account-none');
-- Its initial state as a record, or as a JSON object, which goes on being one when the type gets a column.
CREATE TYPE wallet AS (coins integer, note text);
CREATE FUNCTION put_in(p wallet, e evstore.event) RETURNS wallet LANGUAGE plpgsql AS 'BEGIN p.coins := p.coins + 1; RETURN p; END';
SELECT evstore.create_aggregate('wallet', 'put_in', ' {"coins": 5}');
SELECT * FROM evstore.load_as(NULL::wallet, 'wallet-1');
ALTER TYPE wallet ADD ATTRIBUTE lid boolean;
SELECT * FROM evstore.load_as(NULL::wallet, 'wallet-1');
SELECT version FROM evstore.append('wallet-1', 'Put', '{}');
SELECT state FROM evstore.load('wallet-1');
SELECT evstore.drop_aggregate('wallet');
SELECT evstore.create_aggregate('wallet', 'put_in', '(5,"{",t)');
SELECT * FROM evstore.load_as(NULL::wallet, 'wallet-1');
SELECT evstore.drop_aggregate('wallet');
SELECT evstore.create_aggregate('wallet', 'put_in', '{"coins": "many"}');
SELECT evstore.create_aggregate('wallet', 'put_in', '{coins}');

-- States of other types, in SQL; a strict function leaves NULL alone.
CREATE FUNCTION add_amount(numeric, evstore.event) RETURNS numeric LANGUAGE sql STRICT AS
	$$SELECT $1 + coalesce(($2.data->>'amount')::numeric, 0)$$;
SELECT evstore.create_aggregate('sum', 'add_amount', '0');
SELECT evstore.create_aggregate('nothing', 'add_amount');
CREATE FUNCTION collect(text[], evstore.event) RETURNS text[] LANGUAGE sql AS $$SELECT $1 || $2.type || coalesce($2.tags, '{}')$$;
SELECT evstore.create_aggregate('list', 'collect', '{}');
CREATE DOMAIN positive AS numeric CHECK (value >= 0);
CREATE FUNCTION never_below(positive, e evstore.event) RETURNS positive LANGUAGE plpgsql AS
	'BEGIN RETURN $1 + (e.data->>''amount'')::numeric; END';
SELECT evstore.create_aggregate('purse', 'never_below', '5');
CREATE FUNCTION same(jsonb, evstore.event) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
SELECT evstore.create_aggregate('same', 'same', '{"as": "ever"}');
SELECT evstore.append(category || '-1', 'T', jsonb_build_object('amount', n)) IS NOT NULL AS appended
FROM (VALUES ('sum'), ('nothing'), ('list'), ('purse'), ('same')) c (category), generate_series(1, 3) n
ORDER BY category, n \g /dev/null
SELECT state, version FROM evstore.load('sum-1');
SELECT state, version FROM evstore.load('nothing-1');
SELECT state, version FROM evstore.load('list-1');
SELECT state, version FROM evstore.load('purse-1');
SELECT state, version FROM evstore.load('same-1');
SELECT evstore.load_as(0::numeric, 'sum-1') + 1 AS typed;
SELECT evstore.load_as('{}'::text[], 'list-1');
\set VERBOSITY terse
SELECT evstore.load_as(0, 'sum-1');
\set VERBOSITY default
-- A function in SQL, whether its body can stand in the place of its call or not, gives what it gives when it is called.
CREATE TABLE rate (factor integer);
INSERT INTO rate VALUES (3);
CREATE FUNCTION in_place(text, e evstore.event) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT e.type$$;
CREATE FUNCTION by_row(a account, e evstore.event) RETURNS account LANGUAGE sql AS
	$$SELECT CASE e.version WHEN 3 THEN a ELSE ROW(e.type, coalesce(a.balance, 0) + e.version, true, a.last_entries || e.stream)::account END$$;
CREATE FUNCTION by_lookup(numeric, e evstore.event) RETURNS numeric LANGUAGE sql STABLE AS $$SELECT $1 + factor FROM rate$$;
CREATE FUNCTION by_steps(numeric, e evstore.event) RETURNS numeric LANGUAGE sql AS
	$$CREATE TEMP TABLE IF NOT EXISTS never (x integer); SELECT $1 + 1$$;
CREATE FUNCTION by_definer(text, e evstore.event) RETURNS text LANGUAGE sql SECURITY DEFINER SET work_mem = '1MB' AS
	$$SELECT $1 || current_setting('work_mem') || ' '$$;
CREATE FUNCTION standard(jsonb, e evstore.event) RETURNS jsonb LANGUAGE sql BEGIN ATOMIC SELECT $1 || to_jsonb(e.version); END;
CREATE FUNCTION to_null(text, e evstore.event) RETURNS text LANGUAGE sql STRICT AS $$SELECT nullif($1 || e.version, 'x12')$$;
SELECT evstore.create_aggregate(category, category, initial) IS NOT NULL AS declared, evstore.append(category || '-1',
	evstore.events('[{"type": "A", "data": {}}, {"type": "B", "data": {}}, {"type": "C", "data": {}}, {"type": "D", "data": {}}]')) IS NOT NULL AS appended
FROM (VALUES ('in_place', ''), ('by_row', NULL), ('by_lookup', '0'), ('by_definer', ''), ('standard', '[]'), ('to_null', 'x')) a (category, initial);
SELECT stream, state FROM unnest('{in_place-1,by_row-1,by_lookup-1,by_definer-1,standard-1,to_null-1}'::text[]) stream, evstore.load(stream);
SELECT stream, state FROM unnest('{in_place-1,by_row-1,by_lookup-1,by_definer-1,standard-1,to_null-1}'::text[]) stream,
	evstore.load(stream, as_of_version => 1);
SELECT evstore.create_aggregate('by_steps', 'by_steps', '0');
SELECT version FROM evstore.append('by_steps-1', 'A', '{}');
SELECT evstore.load('by_steps-1');
SELECT evstore.drop_aggregate(category) FROM evstore.aggregates WHERE category IN ('in_place', 'standard', 'to_null') OR category LIKE 'by\_%' \g /dev/null

-- An error names the event.
SELECT evstore.append('purse-1', 'T', '{"amount": -100}') IS NOT NULL AS appended;
SELECT evstore.load('purse-1');
SELECT state, version FROM evstore.load('purse-1', as_of_version => 3);

-- An aggregate of PostgreSQL's kind.
CREATE FUNCTION total_step(numeric, evstore.event) RETURNS numeric LANGUAGE sql IMMUTABLE AS
	$$SELECT $1 + coalesce(($2.data->>'amount')::numeric, 0)$$;
CREATE FUNCTION total_final(numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT $1 || ' EUR'$$;
CREATE AGGREGATE total(evstore.event) (SFUNC = total_step, STYPE = numeric, INITCOND = '0', FINALFUNC = total_final);
SELECT evstore.create_aggregate('till', 'total');
SELECT evstore.append('till-1', 'T', jsonb_build_object('amount', n)) IS NOT NULL FROM generate_series(1, 4) n \g /dev/null
SELECT state, version FROM evstore.load('till-1');
SELECT state, version FROM evstore.load('till-1', as_of_version => 3);
SELECT state, version FROM evstore.load('till-none');

-- Columns that were added to the table do not disturb.
ALTER TABLE events ADD COLUMN note text;
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 8}');
SELECT state, version FROM evstore.load('order-1');
SELECT state, version FROM evstore.load('till-1');

-- A function that is replaced counts from then on; one that is renamed stays; one that is needed cannot go.
CREATE OR REPLACE FUNCTION same(jsonb, evstore.event) RETURNS jsonb LANGUAGE sql AS $$SELECT coalesce($1, '{}') || '{"now": "other"}'$$;
SELECT state FROM evstore.load('same-1');
ALTER FUNCTION same(jsonb, evstore.event) RENAME TO other;
SELECT state FROM evstore.load('same-1');
\set VERBOSITY terse
DROP FUNCTION other(jsonb, evstore.event);
\set VERBOSITY default
SELECT category, initial_state, snapshot_every, snapshots FROM evstore.aggregates ORDER BY category;
SELECT evstore.drop_aggregate('same');
DROP FUNCTION other(jsonb, evstore.event);
SELECT evstore.load('same-1');

-- Refused.
CREATE FUNCTION two(text, evstore.event) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION two(integer, evstore.event) RETURNS integer LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION other_result(text, evstore.event) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION set_of(text, evstore.event) RETURNS SETOF text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION of_any(anyelement, evstore.event) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CREATE PROCEDURE called(text, evstore.event) LANGUAGE sql AS '';
\set VERBOSITY terse
SELECT evstore.create_aggregate('order', 'apply_order');
SELECT evstore.create_aggregate('x', 'two');
SELECT evstore.create_aggregate('x', 'nothing_such');
SELECT evstore.create_aggregate('x', 'nothing_such(text, evstore.event)');
SELECT evstore.create_aggregate('x', 'other_result');
SELECT evstore.create_aggregate('x', 'set_of');
SELECT evstore.create_aggregate('x', 'of_any');
SELECT evstore.create_aggregate('x', 'called');
SELECT evstore.create_aggregate('x', 'upper(text)');
SELECT evstore.create_aggregate('x', 'apply_order', 'not json');
SELECT evstore.create_aggregate('x', 'apply_order', snapshot_every => 0);
SELECT evstore.create_aggregate('x', 'total', '0');
SELECT evstore.create_aggregate('x', 'total', snapshot_every => 10);
SELECT evstore.create_aggregate('x-y', 'apply_order');
SELECT evstore.create_aggregate('', 'apply_order');
SELECT evstore.create_aggregate(NULL, 'apply_order');
SELECT evstore.create_aggregate('x', NULL);
SELECT evstore.create_aggregate('x', 'apply_order', event_table => 'pg_class');
SELECT evstore.drop_aggregate('x');
SELECT evstore.drop_aggregate(NULL);
SELECT evstore.load(NULL);
SELECT evstore.load('');
SELECT evstore.load('unknown-1');
SELECT evstore.load('order-1', as_of_version => -1);
SELECT evstore.load('order-1', 1, now());
DROP TABLE events;
\set VERBOSITY default

-- Rights: only the table's owner declares; whoever may read may load, and the function is called by its owner.
CREATE ROLE regress_aggregate_owner;
CREATE ROLE regress_aggregate_reader;
GRANT USAGE ON SCHEMA regress_aggregate TO regress_aggregate_owner, regress_aggregate_reader;
CREATE FUNCTION who(text, evstore.event) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN current_user; END';
\set VERBOSITY terse
SET ROLE regress_aggregate_owner;
SELECT evstore.create_aggregate('who', 'who');
SELECT evstore.drop_aggregate('order');
SELECT evstore.drop_snapshots('order');
SELECT evstore.load('order-1');
RESET ROLE;
ALTER TABLE events OWNER TO regress_aggregate_owner;
SET ROLE regress_aggregate_owner;
SELECT evstore.create_aggregate('who', 'who');
SELECT version FROM evstore.append('who-1', 'T', '{}');
GRANT SELECT ON events TO regress_aggregate_reader;
SET ROLE regress_aggregate_reader;
SELECT state FROM evstore.load('who-1');
SELECT evstore._take_snapshot('who-1', 'events');
RESET ROLE;
SELECT state, current_user = 'regress_aggregate_owner' AS same FROM evstore.load('who-1');
-- Policies hide events from whom they bind.
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY early ON events USING (version <= 2);
SET ROLE regress_aggregate_reader;
SELECT state, version FROM evstore.load('account-1');
SELECT state, version FROM evstore.load('till-1');
RESET ROLE;
SELECT state, version FROM evstore.load('account-1');
ALTER TABLE events DISABLE ROW LEVEL SECURITY;

SELECT evstore.drop_aggregate(category) FROM evstore.aggregates ORDER BY category \g /dev/null
SELECT count(*) FROM evstore.aggregates;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
RESET evstore.maintenance;
SET client_min_messages = warning;
DROP SCHEMA regress_aggregate CASCADE;
DROP ROLE regress_aggregate_owner, regress_aggregate_reader;
