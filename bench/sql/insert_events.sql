\set s random(1, 9000000000000000000)
INSERT INTO events (stream, type, data) VALUES ('order-' || :s::text, 'OrderPlaced', :data);
