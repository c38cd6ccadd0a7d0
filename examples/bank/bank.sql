-- A day at the bank. Run it in a database that has evstore: psql -f examples/bank/bank.sql

\set ON_ERROR_STOP on
\set QUIET on
\pset footer off
\pset null (none)
SET client_min_messages = warning;
\o /dev/null
\ir schema.sql
\o
-- A refusal is part of the story: it is shown in one line.
\set VERBOSITY terse

\echo
\echo == Two accounts. Ann may overdraw hers by 50.
SELECT state, version FROM evstore.execute('account-ann', 'open', '{"owner": "Ann", "overdraft": 50}');
SELECT state, version FROM evstore.execute('account-bob', 'open', '{"owner": "Bob"}');

\echo == Money comes and goes. The answer has the new state; no second question is needed.
SELECT state->>'balance' AS balance, version FROM evstore.execute('account-ann', 'deposit', '{"amount": 100, "text": "salary"}');
SELECT state->>'balance' AS balance, version FROM evstore.execute('account-ann', 'withdraw', '{"amount": 120.50}');

\echo == The overdraft rule. Nothing is written by a command that is refused.
\set ON_ERROR_STOP off
SELECT evstore.execute('account-ann', 'withdraw', '{"amount": 40}') \g /dev/null
\echo refused: :LAST_ERROR_MESSAGE (:LAST_ERROR_SQLSTATE)
SELECT evstore.execute('account-bob', 'withdraw', '{"amount": 0.01}') \g /dev/null
\echo refused: :LAST_ERROR_MESSAGE (:LAST_ERROR_SQLSTATE)
SELECT evstore.execute('account-carl', 'deposit', '{"amount": 1}') \g /dev/null
\echo refused: :LAST_ERROR_MESSAGE (:LAST_ERROR_SQLSTATE)
\set ON_ERROR_STOP on

\echo
\echo == The line was bad, and the same deposit is sent twice. It is made once, and both get the same answer.
SELECT state->>'balance' AS balance, version FROM evstore.execute('account-ann', 'deposit', '{"amount": 70.50}',
	command_id => '7d0f5c0e-2f51-4a5c-9a30-5b8f2f8c1d01');
SELECT state->>'balance' AS balance, version FROM evstore.execute('account-ann', 'deposit', '{"amount": 70.50}',
	command_id => '7d0f5c0e-2f51-4a5c-9a30-5b8f2f8c1d01');

\echo == A transfer: both accounts or neither. Then read your own writes, by the token.
SELECT transfer('account-ann', 'account-bob', 80, '7d0f5c0e-2f51-4a5c-9a30-5b8f2f8c1d02') AS token \gset
SELECT evstore.wait_for('account_balance', :token) AS has_followed;
SELECT * FROM account_balance ORDER BY account;

\echo == One that the rule refuses changes neither account, though the deposit came first.
\set ON_ERROR_STOP off
SELECT transfer('account-bob', 'account-ann', 1000, '7d0f5c0e-2f51-4a5c-9a30-5b8f2f8c1d03') \g /dev/null
\echo refused: :LAST_ERROR_MESSAGE (:LAST_ERROR_SQLSTATE)
\set ON_ERROR_STOP on

\echo
\echo == What was the balance after each event?
SELECT e.version, e.type, e.data->>'amount' AS amount, past.state->>'balance' AS balance
FROM evstore.read_stream('account-ann') e, evstore.load('account-ann', as_of_version => e.version) past
ORDER BY e.version;

\echo == The read table says what the events say.
SELECT evstore.wait_for('account_balance') AS has_followed;
SELECT b.account, b.balance, (evstore.load_as(NULL::account, b.account)).balance AS folded,
	b.balance = (evstore.load_as(NULL::account, b.account)).balance AS equal
FROM account_balance b ORDER BY b.account;
