\set s random(1, 10000)
\set n :n + 1
\set version :n * 64 + :client_id
INSERT INTO bare (stream, version, type, data) VALUES ('order-' || :s::text, :version, 'OrderPlaced', :data);
