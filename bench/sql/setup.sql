-- Once, before the sections.

-- One row with a thousand events, in the form of either side's bulk append.
CREATE TABLE thousand (events evstore.new_event[], types text[], datas jsonb[]);
ALTER TABLE thousand ALTER events SET STORAGE EXTERNAL, ALTER types SET STORAGE EXTERNAL, ALTER datas SET STORAGE EXTERNAL;
INSERT INTO thousand
	SELECT array_agg(evstore.new_event('OrderPlaced', data)), array_agg('OrderPlaced'::text), array_agg(data)
	FROM (SELECT jsonb_build_object('order', i, 'customer', 'customer-' || i, 'region', 'west', 'amount', 440.25,
		'currency', 'EUR', 'ship_to', repeat('x', 130)) FROM generate_series(1, 1000) i) AS g (data);

-- Wait until a projection has applied every event. In short steps, each in a
-- transaction of its own: a statement that waited for minutes would hold its
-- snapshot all the while, and with it every dead row of the read table.
CREATE PROCEDURE wait_applied(projection text) LANGUAGE plpgsql AS $$
DECLARE
	give_up timestamptz := clock_timestamp() + '5 minutes';
	problem text;
BEGIN
	LOOP
		EXIT WHEN evstore.wait_for(projection, timeout => '100 ms');
		IF clock_timestamp() > give_up THEN
			SELECT concat_ws(': ', p.state, p.last_error) INTO problem FROM evstore.projections p WHERE p.name = projection;
			RAISE 'projection "%" did not catch up within 5 minutes (%)', projection, problem;
		END IF;
		COMMIT;
	END LOOP;
END $$;
