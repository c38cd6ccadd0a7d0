-- Once, before the sections: the throw-away database's own helpers.
SELECT setseed(0.5);

-- One row with a thousand events, in the form of either side's bulk append.
CREATE TABLE thousand (events evstore.new_event[], types text[], datas jsonb[]);
ALTER TABLE thousand ALTER events SET STORAGE EXTERNAL, ALTER types SET STORAGE EXTERNAL, ALTER datas SET STORAGE EXTERNAL;
INSERT INTO thousand
	SELECT array_agg(ROW('OrderPlaced', data, NULL, NULL, NULL)::evstore.new_event), array_agg('OrderPlaced'::text), array_agg(data)
	FROM (SELECT jsonb_build_object('order', i, 'customer', 'customer-' || i, 'region', 'west', 'amount', 440.25,
		'currency', 'EUR', 'ship_to', repeat('x', 130)) FROM generate_series(1, 1000) i) AS g (data);
