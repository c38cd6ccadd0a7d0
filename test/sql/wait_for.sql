-- evstore.wait_for: true once the position is applied, false when the time-out
-- comes first, and what it refuses.

CREATE SCHEMA regress_wait_for;
SET search_path = regress_wait_for;
SELECT evstore.create_event_table();
SELECT evstore.create_projection('regress_wait', query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream');

-- Before any event, there is nothing to wait for.
SELECT evstore.wait_for('regress_wait');
SELECT evstore.wait_for('regress_wait', 0);

-- After an append, by default and by its position.
SELECT position AS first_position FROM evstore.append('order-1', 'OrderPlaced', '{}') \gset
SELECT evstore.wait_for('regress_wait');
SELECT events FROM regress_wait;
SELECT position AS second_position FROM evstore.append('order-1', 'OrderPaid', '{}') \gset
SELECT evstore.wait_for('regress_wait', :second_position);
SELECT events FROM regress_wait;
SELECT evstore.wait_for('regress_wait', :first_position);
SELECT evstore.wait_for('regress_wait', :second_position, '0');
SELECT evstore.wait_for('regress_wait', :second_position, '-1 second');
SELECT evstore.wait_for(projection => 'regress_wait', timeout => '10 minutes');
SELECT evstore.wait_for('regress_wait', NULL, '1 month');

-- A position that nobody has handed out: the time-out answers.
SELECT evstore.wait_for('regress_wait', 9223372036854775807, '0');
SELECT evstore.wait_for('regress_wait', 9223372036854775807, '20 milliseconds');

-- The events of other tables, and positions that were rolled back, count as applied.
SELECT evstore.create_event_table('ledger');
SELECT position AS other_position FROM evstore.append('order-1', 'Booked', '{}', event_table => 'ledger') \gset
SELECT evstore.wait_for('regress_wait', :other_position);
BEGIN;
SELECT position AS undone_position FROM evstore.append('order-1', 'OrderShipped', '{}') \gset
ROLLBACK;
SELECT evstore.wait_for('regress_wait', :undone_position);
SELECT evstore.wait_for('regress_wait');
SELECT events FROM regress_wait;

-- In a transaction that has committed nothing yet, one cannot wait for oneself.
-- (The detail names a position.)
\set VERBOSITY terse
BEGIN;
SELECT position AS own_position FROM evstore.append('order-1', 'OrderShipped', '{}') \gset
SAVEPOINT s;
SELECT evstore.wait_for('regress_wait', :own_position);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT evstore.wait_for('regress_wait');
\echo :SQLSTATE
ROLLBACK TO s;
-- but for what came before
SELECT evstore.wait_for('regress_wait', :second_position);
COMMIT;
SELECT evstore.wait_for('regress_wait', :own_position);
-- also when a savepoint took the event back: its position stays this transaction's
BEGIN;
SAVEPOINT s;
SELECT position AS own_position FROM evstore.append('order-1', 'OrderReturned', '{}') \gset
ROLLBACK TO s;
SELECT evstore.wait_for('regress_wait', :own_position);
\echo :SQLSTATE
ROLLBACK;
-- nor for a projection that was made in the transaction
BEGIN;
SELECT evstore.create_projection('regress_wait_new', query => 'SELECT type, count(*) AS events FROM events GROUP BY type');
SELECT evstore.wait_for('regress_wait_new', timeout => '20 milliseconds');
\echo :SQLSTATE
ROLLBACK;
\set VERBOSITY default

-- A read-only transaction may wait; one with a fixed snapshot would never see the answer.
BEGIN READ ONLY;
SELECT evstore.wait_for('regress_wait');
SELECT events FROM regress_wait;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT evstore.wait_for('regress_wait');
\echo :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT evstore.wait_for('regress_wait', :first_position);
\echo :SQLSTATE
ROLLBACK;

-- In a function, too: each of its statements has a snapshot of its own.
CREATE FUNCTION wait_and_read() RETURNS bigint LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM evstore.wait_for('regress_wait');
	RETURN (SELECT events FROM regress_wait);
END
$$;
SELECT version FROM evstore.append('order-1', 'OrderClosed', '{}');
SELECT wait_and_read();

-- Several projections at once, and all.
SELECT evstore.create_projection('regress_wait_types', query => 'SELECT type, count(*) AS events FROM events GROUP BY type');
SELECT position AS later_position FROM evstore.append('order-2', 'OrderClosed', '{}') \gset
SELECT evstore.wait_for(ARRAY['regress_wait', 'regress_wait_types'], :later_position);
SELECT events FROM regress_wait_types WHERE type = 'OrderClosed';
SELECT version FROM evstore.append('order-2', 'OrderClosed', '{}');
SELECT evstore.wait_for_all();
SELECT events FROM regress_wait_types WHERE type = 'OrderClosed';
SELECT evstore.wait_for_all(:later_position, '0');
SELECT evstore.wait_for('{}'::text[]);
SELECT evstore.wait_for('{regress_wait,regress_wait_types}'::text[], 9223372036854775807, '20 milliseconds');
SELECT evstore.wait_for_all(9223372036854775807, '20 milliseconds');
-- One that is paused does not come, unless it has come so far already.
SELECT evstore.pause_projection('regress_wait_types');
SELECT evstore.wait_for_all(:later_position);
SELECT version FROM evstore.append('order-2', 'OrderClosed', '{}');
SELECT evstore.wait_for_all(timeout => '20 milliseconds');
SELECT evstore.wait_for(ARRAY['regress_wait', 'regress_wait_types'], timeout => '20 milliseconds');
SELECT evstore.wait_for(ARRAY['regress_wait']);
SELECT evstore.resume_projection('regress_wait_types');
SELECT evstore.wait_for_all();
SELECT evstore.wait_for(ARRAY['regress_wait', 'regress_no_such_projection']);
\echo :SQLSTATE
SELECT evstore.wait_for(ARRAY['regress_wait', NULL]);
\echo :SQLSTATE
SELECT evstore.wait_for(NULL::text[]);
\echo :SQLSTATE
SELECT evstore.wait_for_all(timeout => NULL);
\echo :SQLSTATE
BEGIN;
SELECT version FROM evstore.append('order-2', 'OrderClosed', '{}');
\set VERBOSITY terse
SELECT evstore.wait_for_all();
\echo :SQLSTATE
\set VERBOSITY default
ROLLBACK;
SELECT evstore.drop_projection('regress_wait_types');

-- What it refuses
SELECT evstore.wait_for('regress_no_such_projection');
\echo :SQLSTATE
SELECT evstore.wait_for('');
\echo :SQLSTATE
SELECT evstore.wait_for(NULL);
\echo :SQLSTATE
SELECT evstore.wait_for('regress_wait', timeout => NULL);
\echo :SQLSTATE

-- statement_timeout interrupts it like any statement.
SET statement_timeout = '50ms';
SELECT evstore.wait_for('regress_wait', 9223372036854775807);
\echo :SQLSTATE
RESET statement_timeout;

SELECT evstore.drop_projection('regress_wait');
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_wait_for CASCADE;
