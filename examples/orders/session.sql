-- One of the sessions that append at the same time: its share of the orders, each event in a transaction of its own.
-- psql needs: -v sessions=<how many there are> -v session=<which one this is, from 0>

SELECT format('SELECT FROM evstore.append(%L, %L, %L::jsonb, expected_version => %s)',
              stream, type, data, version - 1)
FROM northwind.incoming
WHERE order_id % :sessions = :session
  AND seq > 1       -- the first event has been appended by hand
ORDER BY seq
\gexec
