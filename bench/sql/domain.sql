-- The section "domain": functions that fold, a command, and streams of known
-- lengths. psql needs: -v fold=<events of the stream fold-1> -v order=<data of an event>

SELECT evstore.create_event_table('events') \g /dev/null

CREATE FUNCTION fold_in_plpgsql(state jsonb, e evstore.event) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN jsonb_build_object('orders', (state->>'orders')::bigint + 1,
		'amount', (state->>'amount')::numeric + (e.data->>'amount')::numeric);
END $$;
CREATE FUNCTION fold_in_sql(state numeric, e evstore.event) RETURNS numeric LANGUAGE sql IMMUTABLE AS
	$$SELECT state + (e.data->>'amount')::numeric$$;
CREATE TYPE account AS (balance numeric, entries bigint);
CREATE FUNCTION fold_to_row(a account, e evstore.event) RETURNS account LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	a.balance := a.balance + (e.data->>'amount')::numeric;
	a.entries := a.entries + 1;
	RETURN a;
END $$;

-- The same without evstore: a loop over the rows.
CREATE FUNCTION loop_in_plpgsql(name text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	state jsonb := '{"orders": 0, "amount": 0}';
	e record;
BEGIN
	FOR e IN SELECT version, type, data FROM events WHERE stream = name ORDER BY version LOOP
		state := jsonb_build_object('orders', (state->>'orders')::bigint + 1,
			'amount', (state->>'amount')::numeric + (e.data->>'amount')::numeric);
	END LOOP;
	RETURN state;
END $$;

-- Declare the aggregate of a category anew.
CREATE FUNCTION redeclare(category text, apply text, initial text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM evstore.drop_aggregate(a.category) FROM evstore.aggregates a WHERE a.category = redeclare.category;
	PERFORM evstore.create_aggregate(category, apply, initial);
END $$;

-- A command that decides, and a state that it decides on.
CREATE FUNCTION deposit(a account, command jsonb) RETURNS SETOF evstore.new_event LANGUAGE plpgsql AS $$
BEGIN
	IF a.balance + (command->>'amount')::numeric < 0 THEN
		RAISE EXCEPTION 'not enough';
	END IF;
	RETURN NEXT evstore.new_event('OrderPlaced', command);
END $$;
SELECT evstore.create_aggregate('account', 'fold_to_row', '(0,0)', snapshot_every => 100) \g /dev/null
SELECT evstore.create_command('deposit', 'account', 'deposit') \g /dev/null

-- The stream that is folded, and three that have a snapshot and ten events after it.
INSERT INTO events (stream, type, data) SELECT 'fold-1', 'OrderPlaced', :'order' FROM generate_series(1, :fold);
SELECT evstore.create_aggregate('long', 'fold_in_plpgsql', '{"orders": 0, "amount": 0}', snapshot_every => 100) \g /dev/null
INSERT INTO events (stream, type, data) SELECT 'long-' || n, 'OrderPlaced', :'order' FROM (VALUES (100), (5000), (50000)) s (n), generate_series(1, n);
SELECT bool_and(evstore.wait_for(name)) FROM evstore.projections \g /dev/null
INSERT INTO events (stream, type, data) SELECT 'long-' || n, 'OrderPlaced', :'order' FROM (VALUES (100), (5000), (50000)) s (n), generate_series(1, 10);
SELECT bool_and(evstore.wait_for(name)) FROM evstore.projections \g /dev/null
VACUUM ANALYZE events;
