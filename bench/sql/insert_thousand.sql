\set s random(1, 9000000000000000000)
INSERT INTO bare (stream, version, type, data)
	SELECT 'order-' || :s::text, e.version, e.type, e.data
	FROM thousand, unnest(types, datas) WITH ORDINALITY AS e (type, data, version);
