\set n :n + 1
\set s 1000000000000000000 + :n
INSERT INTO bare (stream, version, type, data) VALUES ('order-' || :s::text, 1, 'OrderPlaced', :data);
