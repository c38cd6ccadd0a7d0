\set s random(1, 9000000000000000000)
INSERT INTO bare (stream, version, type, data) VALUES ('order-' || :s::text, 1, 'OrderPlaced', :data);
