-- A bank: what an account is, what may be done to it, and what is read.
-- Plain SQL, so that any client can run it, as the owner of a database that has evstore.

CREATE SCHEMA bank;
SET search_path = bank;
SELECT evstore.create_event_table('events');

-- ---------------------------------------------------------------------------------------------------------------------
-- The aggregate: how the state of an account follows from its events
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TYPE account AS (owner text, balance numeric, overdraft numeric, is_open boolean);

-- No rule stands here: what has happened, has happened.
CREATE FUNCTION apply(a account, e evstore.event) RETURNS account LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	CASE e.type
		WHEN 'AccountOpened' THEN
			a := (e.data->>'owner', 0, (e.data->>'overdraft')::numeric, true);
		WHEN 'MoneyDeposited' THEN
			a.balance := a.balance + (e.data->>'amount')::numeric;
		WHEN 'MoneyWithdrawn' THEN
			a.balance := a.balance - (e.data->>'amount')::numeric;
		WHEN 'AccountClosed' THEN
			a.is_open := false;
		ELSE
			NULL;       -- an event of a type that says nothing about the state
	END CASE;
	RETURN a;
END $$;
SELECT evstore.create_aggregate('account', 'apply', '{"balance": 0, "overdraft": 0, "is_open": false}', snapshot_every => 100);

-- ---------------------------------------------------------------------------------------------------------------------
-- The commands: who decides may refuse
-- ---------------------------------------------------------------------------------------------------------------------

-- The amount of a command, which is money.
CREATE FUNCTION amount(command jsonb) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	amount numeric := command->>'amount';
BEGIN
	IF amount > 0 AND amount = round(amount, 2) THEN
		RETURN round(amount, 2);
	END IF;
	RAISE EXCEPTION 'not an amount of money: %', coalesce(command->>'amount', 'none') USING ERRCODE = 'NOSUM';
END $$;

CREATE FUNCTION open_account(a account, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF a.owner IS NOT NULL THEN
		RAISE EXCEPTION 'the account exists, and belongs to %', a.owner USING ERRCODE = 'TAKEN';
	END IF;
	RETURN NEXT evstore.new_event('AccountOpened', jsonb_build_object('owner', command->>'owner',
		'overdraft', coalesce((command->>'overdraft')::numeric, 0)));
END $$;

CREATE FUNCTION deposit(a account, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF NOT a.is_open THEN
		RAISE EXCEPTION 'the account is not open' USING ERRCODE = 'NOACC';
	END IF;
	RETURN NEXT evstore.new_event('MoneyDeposited', command || jsonb_build_object('amount', amount(command)));
END $$;

-- The overdraft rule.
CREATE FUNCTION withdraw(a account, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF NOT a.is_open THEN
		RAISE EXCEPTION 'the account is not open' USING ERRCODE = 'NOACC';
	END IF;
	IF a.balance + a.overdraft < amount(command) THEN
		RAISE EXCEPTION 'cannot withdraw %: the balance is % and may go down to %', amount(command), a.balance, -a.overdraft
			USING ERRCODE = 'OVERD';
	END IF;
	RETURN NEXT evstore.new_event('MoneyWithdrawn', command || jsonb_build_object('amount', amount(command)));
END $$;

CREATE FUNCTION close_account(a account, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF a.balance <> 0 THEN
		RAISE EXCEPTION 'the balance is %, not 0', a.balance USING ERRCODE = 'NOTZE';
	END IF;
	IF a.is_open THEN
		RETURN NEXT evstore.new_event('AccountClosed', '{}');
	END IF;
END $$;

SELECT evstore.create_command('open', 'account', 'open_account');
SELECT evstore.create_command('deposit', 'account', 'deposit');
SELECT evstore.create_command('withdraw', 'account', 'withdraw');
SELECT evstore.create_command('close', 'account', 'close_account');

-- ---------------------------------------------------------------------------------------------------------------------
-- A transfer: two commands, one transaction
-- ---------------------------------------------------------------------------------------------------------------------

-- Both accounts, or neither. The one whose name comes first goes first, whichever way the money goes: so two transfers
-- between the same accounts wait for one another, and never each for the other. Sent again with its id, it is made once.
CREATE FUNCTION transfer(from_account text, to_account text, amount numeric, transfer_id uuid) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
	step record;
	last_position bigint;
BEGIN
	FOR step IN
		SELECT * FROM (VALUES (from_account, to_account, 'withdraw'), (to_account, from_account, 'deposit')) s (account, other, command)
		ORDER BY account COLLATE "C"
	LOOP
		SELECT greatest(last_position, e.position) INTO last_position
		FROM evstore.execute(step.account, step.command,
			jsonb_build_object('amount', amount, 'other', step.other, 'transfer', transfer_id),
			command_id => md5(transfer_id || step.command)::uuid) e;
	END LOOP;
	RETURN last_position;   -- the token to wait for
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- The read table
-- ---------------------------------------------------------------------------------------------------------------------

SELECT evstore.create_projection('account_balance', query => $$
	SELECT stream AS account,
		max(data->>'owner') FILTER (WHERE type = 'AccountOpened') AS owner,
		sum(CASE type WHEN 'MoneyDeposited' THEN (data->>'amount')::numeric
		              WHEN 'MoneyWithdrawn' THEN -(data->>'amount')::numeric ELSE 0 END) AS balance,
		count(*) FILTER (WHERE type IN ('MoneyDeposited', 'MoneyWithdrawn')) AS entries
	FROM events
	GROUP BY stream
$$);
