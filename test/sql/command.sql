-- Commands: load, decide, append, in one call.

CREATE SCHEMA regress_command;
SET search_path = regress_command;
SELECT evstore.create_event_table();

CREATE FUNCTION apply_account(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE sql AS $$
	SELECT CASE e.type
		WHEN 'Opened' THEN jsonb_build_object('open', true, 'balance', 0)
		WHEN 'Deposited' THEN jsonb_set(state, '{balance}', to_jsonb((state->>'balance')::numeric + (e.data->>'amount')::numeric))
		WHEN 'Withdrawn' THEN jsonb_set(state, '{balance}', to_jsonb((state->>'balance')::numeric - (e.data->>'amount')::numeric))
		ELSE state END
$$;
CREATE FUNCTION open_account(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF (state->>'open')::boolean THEN
		RETURN;
	END IF;
	RETURN QUERY SELECT 'Opened', command, NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer;
	IF command ? 'deposit' THEN
		RETURN QUERY SELECT 'Deposited', jsonb_build_object('amount', command->'deposit'), '{"how": "cash"}'::jsonb, NULL::uuid, '{first}'::text[], NULL::integer;
	END IF;
END $$;
CREATE FUNCTION withdraw(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF (state->>'balance')::numeric < (command->>'amount')::numeric THEN
		RAISE EXCEPTION 'balance is only %', state->>'balance' USING ERRCODE = 'BANK1', HINT = 'Deposit first.';
	END IF;
	RETURN QUERY SELECT 'Withdrawn', command, NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer;
END $$;
SELECT evstore.create_aggregate('account', 'apply_account', '{"open": false, "balance": 0}');
SELECT evstore.create_command('open', 'account', 'open_account');
SELECT evstore.create_command('withdraw', 'account', 'regress_command.withdraw(jsonb, jsonb)');
SELECT name, category, event_table, owner = current_user::regrole AS mine FROM evstore.commands ORDER BY name;

-- One call: the new state, its version, the token to wait for, and the events.
SELECT state, version, position = (SELECT max(position) FROM events) AS token, events
FROM evstore.execute('account-1', 'open', '{"deposit": 100}');
SELECT state, version, events FROM evstore.execute('account-1', 'withdraw', '{"amount": 30}');
SELECT stream, version, type, data, metadata, id, tags FROM events ORDER BY position;
-- A command may decide on nothing.
SELECT state, version, events FROM evstore.execute('account-1', 'open');
-- A refusal is the domain's own error, and nothing is appended.
SELECT evstore.execute('account-1', 'withdraw', '{"amount": 71}');
\echo :SQLSTATE
SELECT count(*) FROM events;
-- In a transaction with other work; undone with it.
BEGIN;
SELECT version FROM evstore.append('account-1', 'Deposited', '{"amount": 1}');
SELECT state, version FROM evstore.execute('account-1', 'withdraw', '{"amount": 71}');
ROLLBACK;
SELECT state, version FROM evstore.load('account-1');

-- An expected version is checked, not retried.
SELECT state, version FROM evstore.execute('account-1', 'withdraw', '{"amount": 1}', expected_version => 3);
SELECT evstore.execute('account-1', 'withdraw', '{"amount": 1}', expected_version => 3);
\echo :SQLSTATE
SELECT evstore.execute('account-9', 'open', expected_version => -1);
SELECT version FROM evstore.execute('account-9', 'open', expected_version => 0);

-- A command with an id is executed once, and answers for ever as it did.
\set id '''11111111-2222-4333-8444-555555555555'''
SELECT state, version, events FROM evstore.execute('account-2', 'open', '{"deposit": 50}', command_id => :id);
SELECT version FROM evstore.append('account-2', 'Deposited', '{"amount": 1000}');
SELECT state, version, events FROM evstore.execute('account-2', 'open', '{"deposit": 50}', command_id => :id);
SELECT count(*), count(DISTINCT id) FROM events WHERE stream = 'account-2';
SELECT bool_and(substr(id::text, 15, 1) = '8') FROM events WHERE stream = 'account-2' AND version = 2;
-- Also one that decided on nothing, though it would decide otherwise now.
\set id '''21111111-2222-4333-8444-555555555555'''
CREATE FUNCTION below(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS $$
	SELECT 'WasBelow', command, NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer WHERE (state->>'balance')::numeric < (command->>'line')::numeric $$;
SELECT evstore.create_command('below', 'account', 'below');
SELECT state, version, events FROM evstore.execute('account-2', 'below', '{"line": 100}', command_id => :id);
SELECT version FROM evstore.append('account-2', 'Withdrawn', '{"amount": 1000}');
SELECT state, version, events FROM evstore.execute('account-2', 'below', '{"line": 100}', command_id => :id);
SELECT state, version, events FROM evstore.execute('account-2', 'below', '{"line": 100}');
-- A refused one may be sent again.
\set id '''31111111-2222-4333-8444-555555555555'''
SELECT evstore.execute('account-2', 'withdraw', '{"amount": 500}', command_id => :id);
SELECT version FROM evstore.append('account-2', 'Deposited', '{"amount": 1000}');
SELECT state, version FROM evstore.execute('account-2', 'withdraw', '{"amount": 500}', command_id => :id);
SELECT state, version FROM evstore.execute('account-2', 'withdraw', '{"amount": 500}', command_id => :id);
-- The id belongs to its stream.
SELECT evstore.execute('account-3', 'open', command_id => :id);
\echo :SQLSTATE
SELECT evstore.execute('account-3', 'below', '{"line": 0}', command_id => '21111111-2222-4333-8444-555555555555');
\echo :SQLSTATE

-- One transaction, one snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT version FROM evstore.execute('account-4', 'open', '{"deposit": 5}');
SELECT state, version FROM evstore.execute('account-4', 'withdraw', '{"amount": 5}');
COMMIT;

-- A composite state.
CREATE TYPE counter AS (n integer);
CREATE FUNCTION apply_counter(c counter, e evstore.event) RETURNS counter LANGUAGE sql AS $$SELECT ROW(coalesce(c.n, 0) + 1)::counter$$;
CREATE FUNCTION step(c counter, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS
	$$SELECT 'Stepped', jsonb_build_object('from', c.n, 'command', command), NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer$$;
SELECT evstore.create_aggregate('counter', 'apply_counter');
SELECT evstore.create_command('step', 'counter', 'step');
SELECT state, version FROM evstore.execute('counter-1', 'step');
SELECT state, version, (events[1]).data FROM evstore.execute('counter-1', 'step', NULL);

-- A command may give its events ids, as an append does.
CREATE FUNCTION with_id(c counter, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS
	$$SELECT 'Stepped', '{}'::jsonb, NULL::jsonb, '41111111-2222-4333-8444-555555555555'::uuid, NULL::text[], NULL::integer$$;
SELECT evstore.create_command('with_id', 'counter', 'with_id');
SELECT state, version FROM evstore.execute('counter-1', 'with_id');

-- Functions may be replaced and renamed, and cannot go while they are needed.
CREATE OR REPLACE FUNCTION step(c counter, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS
	$$SELECT 'Leapt', '{}'::jsonb, NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer$$;
ALTER FUNCTION step(counter, jsonb) RENAME TO leap;
SELECT (events[1]).type FROM evstore.execute('counter-1', 'step');
\set VERBOSITY terse
DROP FUNCTION leap(counter, jsonb);

-- Refused.
CREATE FUNCTION one(state jsonb, command jsonb) RETURNS evstore.new_event LANGUAGE sql AS 'SELECT NULL::evstore.new_event';
CREATE FUNCTION of_text(state jsonb, command text) RETURNS SETOF evstore.new_event LANGUAGE sql AS 'SELECT NULL::evstore.new_event';
CREATE FUNCTION bad_event(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE sql AS
	$$SELECT NULL::text, '{}'::jsonb, NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer$$;
SELECT evstore.create_command('one', 'account', 'one');
SELECT evstore.create_command('of_text', 'account', 'of_text');
SELECT evstore.create_command('none', 'account', 'no_such');
SELECT evstore.create_command('', 'account', 'withdraw');
SELECT evstore.create_command(NULL, 'account', 'withdraw');
SELECT evstore.create_command('x', 'a-b', 'withdraw');
SELECT evstore.create_command('x', 'account', NULL);
SELECT evstore.create_command('open', 'account', 'open_account');
SELECT evstore.create_command('wrong', 'counter', 'withdraw');
SELECT evstore.execute('counter-1', 'wrong');
SELECT evstore.create_command('bad', 'account', 'bad_event');
SELECT evstore.execute('account-1', 'bad');
SELECT evstore.execute('counter-1', 'with_id', command_id => '51111111-2222-4333-8444-555555555555');
SELECT evstore.execute('counter-1', 'with_id');
SELECT evstore.execute('account-1', 'no_such');
SELECT evstore.execute('other-1', 'open');
SELECT evstore.execute(NULL, 'open');
SELECT evstore.execute('', 'open');
SELECT evstore.execute('account-1', NULL);
SELECT evstore.execute('account-1', 'open', max_retries => -1);
SELECT evstore.execute('account-1', 'open', max_retries => NULL);
SELECT evstore.execute('account-1', 'open', expected_version => -2);
SELECT evstore.drop_command('no_such', 'account');
BEGIN READ ONLY;
SELECT evstore.execute('account-1', 'open');
ROLLBACK;

-- Rights: the function is called by its owner; to execute one needs to read and to append.
CREATE ROLE regress_command_owner;
CREATE ROLE regress_command_user;
GRANT USAGE ON SCHEMA regress_command TO regress_command_owner, regress_command_user;
CREATE FUNCTION who(state jsonb, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS
	'BEGIN RETURN QUERY SELECT ''Asked'', to_jsonb(current_user), NULL::jsonb, NULL::uuid, NULL::text[], NULL::integer; END';
SET ROLE regress_command_user;
SELECT evstore.create_command('who', 'account', 'who');
SELECT evstore.drop_command('open', 'account');
SELECT evstore.execute('account-1', 'open');
RESET ROLE;
GRANT SELECT ON events TO regress_command_user;
SET ROLE regress_command_user;
SELECT evstore.execute('account-1', 'withdraw', '{"amount": 0}');
RESET ROLE;
GRANT INSERT ON events TO regress_command_user;
ALTER TABLE events OWNER TO regress_command_owner;
SET ROLE regress_command_owner;
SELECT evstore.create_command('who', 'account', 'who');
SET ROLE regress_command_user;
SELECT (events[1]).data FROM evstore.execute('account-1', 'who');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION who(jsonb, jsonb) FROM PUBLIC;
SELECT (events[1]).data FROM evstore.execute('account-1', 'who');

-- An event table stays while anything is declared for it, and takes with it what is remembered of commands.
SELECT count(*) FROM evstore._command_without_events;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
\set VERBOSITY default
SELECT evstore.drop_command(name, category) FROM evstore.commands WHERE name <> 'open' ORDER BY name \g /dev/null
DROP TABLE events;
RESET evstore.maintenance;
SELECT evstore.drop_command(name, category) FROM evstore.commands ORDER BY name \g /dev/null
SELECT evstore.drop_aggregate(category) FROM evstore.aggregates ORDER BY category \g /dev/null
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('events');
RESET evstore.maintenance;
SELECT count(*) FROM evstore._command_without_events;
SET client_min_messages = warning;
DROP SCHEMA regress_command CASCADE;
DROP ROLE regress_command_owner, regress_command_user;
