-- evstore.protect: a table that is no event table gets the same guard. Its rows
-- are added, and never changed or removed, neither by its owner nor by a superuser.

CREATE ROLE regress_protect;
CREATE SCHEMA regress_protect AUTHORIZATION regress_protect;
SET search_path = regress_protect;
SET ROLE regress_protect;
CREATE TYPE kind AS ENUM ('debit', 'credit');
CREATE TABLE account (name text PRIMARY KEY);
CREATE TABLE ledger (entry integer PRIMARY KEY, amount numeric, kind kind DEFAULT 'debit',
	account text REFERENCES account ON DELETE CASCADE ON UPDATE CASCADE,
	twice numeric GENERATED ALWAYS AS (amount * 2) STORED);
CREATE TABLE outside (entry integer, amount numeric);
CREATE VIEW window_on_ledger AS SELECT entry, amount FROM ledger;
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
INSERT INTO account VALUES ('cash'), ('bank');
INSERT INTO outside VALUES (1, 0), (2, 0), (9, 0);
INSERT INTO ledger VALUES (1, 10, 'debit', 'cash'), (2, 20, 'credit', 'cash');
-- which changes as it likes until it is protected
UPDATE ledger SET amount = 11 WHERE entry = 1;
SELECT evstore.protect('ledger');

-- Run a command that must be refused; say so, and how. A command that runs is undone.
CREATE PROCEDURE refuse(commands text[]) LANGUAGE plpgsql AS
$$
DECLARE
	command text;
BEGIN
	FOREACH command IN ARRAY commands LOOP
		BEGIN
			EXECUTE command;
			RAISE EXCEPTION 'ALLOWED' USING ERRCODE = 'ZZ000';
		EXCEPTION WHEN OTHERS THEN
			RAISE INFO '% -> % %', command, SQLSTATE, SQLERRM;
		END;
	END LOOP;
END
$$;
\set SHOW_CONTEXT never

-- One refusal in full; it does not speak of events.
DELETE FROM ledger;
\echo :SQLSTATE

CREATE PROCEDURE refuse_all() LANGUAGE plpgsql AS
$procedure$
BEGIN
	-- changing and removing rows, in every form; also where no row would match
	CALL regress_protect.refuse(ARRAY[
		$$UPDATE ledger SET amount = 0$$,
		$$UPDATE ONLY ledger SET amount = 0 WHERE false$$,
		$$UPDATE ledger l SET amount = o.amount FROM outside o WHERE o.entry = l.entry$$,
		$$UPDATE window_on_ledger SET amount = 0$$,
		$$WITH changed AS (UPDATE ledger SET amount = 0 RETURNING *) SELECT * FROM changed$$,
		$$DELETE FROM ledger$$,
		$$DELETE FROM ledger WHERE false$$,
		$$DELETE FROM ledger l USING outside o WHERE o.entry = l.entry$$,
		$$DELETE FROM window_on_ledger$$,
		$$WITH gone AS (DELETE FROM ledger RETURNING *) INSERT INTO outside SELECT entry, amount FROM gone$$,
		$$TRUNCATE ledger$$,
		$$TRUNCATE outside, ledger CASCADE$$,
		$$TRUNCATE account CASCADE$$,
		$$MERGE INTO ledger l USING outside o ON o.entry = l.entry WHEN MATCHED THEN UPDATE SET amount = o.amount$$,
		$$MERGE INTO ledger l USING outside o ON o.entry = l.entry WHEN MATCHED THEN DELETE$$,
		$$MERGE INTO ledger l USING outside o ON o.entry = l.entry
			WHEN MATCHED AND false THEN DELETE WHEN NOT MATCHED THEN INSERT (entry) VALUES (o.entry)$$,
		$$INSERT INTO ledger (entry, amount) VALUES (1, 0) ON CONFLICT (entry) DO UPDATE SET amount = 0$$,
		$$DO 'BEGIN DELETE FROM regress_protect.ledger; END'$$,
		-- by way of what a row refers to
		$$DELETE FROM account$$,
		$$UPDATE account SET name = name || '!'$$]);
	-- switching the guard off, or putting something before it
	CALL regress_protect.refuse(ARRAY[
		$$ALTER TABLE ledger DISABLE TRIGGER ALL$$,
		$$ALTER TABLE ledger DISABLE TRIGGER USER$$,
		$$ALTER TABLE ledger DISABLE TRIGGER evstore_guard$$,
		$$ALTER TABLE ledger DISABLE TRIGGER evstore_guard_row$$,
		$$ALTER TABLE ledger ENABLE TRIGGER evstore_guard$$,
		$$ALTER TABLE ledger ENABLE REPLICA TRIGGER evstore_guard_row$$,
		$$ALTER TABLE ledger ENABLE TRIGGER ALL$$,
		$$ALTER TRIGGER evstore_guard ON ledger RENAME TO aside$$,
		$$DROP TRIGGER evstore_guard ON ledger$$,
		$$DROP TRIGGER evstore_guard_row ON ledger$$,
		$$CREATE OR REPLACE TRIGGER evstore_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger EXECUTE FUNCTION meddle()$$,
		$$CREATE RULE on_insert AS ON INSERT TO ledger DO INSTEAD NOTHING$$,
		$$CREATE RULE on_update AS ON UPDATE TO ledger DO INSTEAD NOTHING$$,
		$$CREATE RULE on_delete AS ON DELETE TO ledger DO ALSO DELETE FROM outside$$,
		$$CREATE TABLE child () INHERITS (ledger)$$,
		$$ALTER TABLE ledger INHERIT outside$$]);
	-- changing what the columns are, and dropping it, from every side
	CALL regress_protect.refuse(ARRAY[
		$$ALTER TABLE ledger DROP COLUMN amount CASCADE$$,
		$$ALTER TABLE ledger DROP COLUMN twice$$,
		$$ALTER TABLE ledger ALTER COLUMN amount TYPE numeric USING 0$$,
		$$ALTER TABLE ledger ALTER COLUMN amount TYPE text$$,
		$$ALTER TABLE ledger SET UNLOGGED$$,
		$$DROP TYPE kind CASCADE$$,
		$$DROP TABLE ledger$$,
		$$DROP TABLE IF EXISTS outside, ledger CASCADE$$,
		$$DROP SCHEMA regress_protect CASCADE$$,
		$$DROP OWNED BY regress_protect CASCADE$$,
		$$ALTER TABLE ledger RENAME TO aside; TRUNCATE aside$$]);
END
$procedure$;
SET client_min_messages = warning;
CALL refuse_all();
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM ledger FOR UPDATE;
FETCH NEXT FROM c \g /dev/null
UPDATE ledger SET amount = 0 WHERE CURRENT OF c;
\echo :SQLSTATE
ROLLBACK;

-- The superuser is refused the same, and so is everybody while triggers are
-- told to sleep; shown is only what would be different.
RESET ROLE;
CREATE FUNCTION allowed(setting text) RETURNS SETOF text LANGUAGE plpgsql AS
$$
DECLARE
	command text;
BEGIN
	PERFORM set_config('session_replication_role', setting, true);
	FOREACH command IN ARRAY ARRAY[
		'UPDATE ledger SET amount = 0', 'UPDATE ledger SET amount = 0 WHERE false', 'DELETE FROM ledger', 'TRUNCATE ledger',
		'MERGE INTO ledger l USING outside o ON o.entry = l.entry WHEN MATCHED THEN UPDATE SET amount = o.amount',
		'MERGE INTO ledger l USING outside o ON o.entry = l.entry WHEN MATCHED THEN DELETE',
		'ALTER TABLE ledger DISABLE TRIGGER ALL', 'ALTER TABLE ledger DISABLE TRIGGER evstore_guard_row',
		'DROP TRIGGER evstore_guard ON ledger', 'ALTER TABLE ledger DROP COLUMN amount CASCADE',
		'ALTER TABLE ledger ALTER COLUMN amount TYPE numeric USING 0',
		'DROP TABLE ledger', 'DROP SCHEMA regress_protect CASCADE', 'DROP OWNED BY regress_protect CASCADE',
		'DROP EXTENSION evstore CASCADE']
	LOOP
		BEGIN
			EXECUTE command;
			RAISE EXCEPTION 'undone' USING ERRCODE = 'ZZ000';
		EXCEPTION
			WHEN SQLSTATE 'VE005' THEN NULL;
			WHEN OTHERS THEN RETURN NEXT command || ' -> ' || SQLERRM;
		END;
	END LOOP;
END
$$;
SELECT allowed('origin');
SELECT allowed('replica');
SELECT allowed('local');
SELECT entry, amount, kind, account, twice FROM ledger ORDER BY entry;
SELECT count(*) FROM evstore.maintenance_log WHERE target LIKE '%regress_protect%';

-- What must still work.
SET ROLE regress_protect;
INSERT INTO ledger VALUES (3, 30, 'debit', 'bank');
INSERT INTO ledger VALUES (3, 0, 'debit', 'bank') ON CONFLICT DO NOTHING;
COPY ledger (entry, amount) FROM stdin;
4	40
\.
ALTER TABLE ledger ADD COLUMN noted_at timestamptz DEFAULT clock_timestamp();
ALTER TABLE ledger RENAME COLUMN noted_at TO seen_at;
ALTER TABLE ledger ADD CHECK (amount >= 0);
CREATE INDEX ON ledger (amount);
VACUUM FULL ledger;
CLUSTER ledger USING ledger_pkey;
CREATE TRIGGER watch AFTER INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT entry FROM ledger WHERE entry = 1 FOR UPDATE;
TRUNCATE outside;
-- it is no event table
SELECT version FROM evstore.append('order-1', 'x', '{}', event_table => 'ledger');
\echo :SQLSTATE
-- to protect it twice is to protect it once
SELECT evstore.protect('ledger');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'ledger'::regclass AND tgname LIKE 'evstore%' ORDER BY tgname;
SELECT entry, amount FROM ledger ORDER BY entry;

-- Nor is a table guarded whose columns another command could empty.
CREATE TYPE pair AS (x integer, y integer);
CREATE TABLE of_pair (p pair);
CREATE TABLE of_pairs (p pair[]);
SELECT evstore.protect('of_pair');
SELECT evstore.protect('of_pairs');
DROP TABLE of_pair, of_pairs;
DROP TYPE pair;

-- Through the door, on the record.
RESET ROLE;
SET evstore.maintenance = on;
UPDATE ledger SET amount = 41 WHERE entry = 4;
DROP TRIGGER evstore_guard ON ledger;
DROP TRIGGER evstore_guard_row ON ledger;
RESET evstore.maintenance;
DELETE FROM ledger WHERE entry = 4;
SELECT command, target FROM evstore.maintenance_log WHERE target LIKE '%regress_protect%' ORDER BY happened_at;

DROP SCHEMA regress_protect CASCADE;
DROP ROLE regress_protect;
