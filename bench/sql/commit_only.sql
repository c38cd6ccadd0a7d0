-- The limit: a transaction that writes its WAL and no table.
SELECT pg_logical_emit_message(true, 'bench', :data);
