-- A grand total: a query without keys has one row, from the declaration on.

CREATE SCHEMA regress_projection_total;
SET search_path = regress_projection_total;
SELECT evstore.create_event_table();

SELECT evstore.create_projection('total', query => $$
	SELECT count(*) AS events, count(data->>'x') AS with_x, sum((data->>'x')::numeric) AS x, avg((data->>'x')::numeric) AS average,
		evstore.last(type, position) AS last
	FROM events$$);
SELECT evstore.create_projection('rare', query => $$
	SELECT count(*) AS events, max(version) AS highest FROM events WHERE type = 'Rare' GROUP BY ()$$);

-- Over no events it is what the query is over no events.
SELECT events, with_x, x, average, last FROM total;
SELECT events, highest FROM rare;
-- That is what its view shows outside of a batch: whatever is built beside it begins so.
SELECT 'evstore._batch_' || id AS view FROM evstore._projection WHERE name = 'rare' \gset
SELECT events, highest, _events FROM :view;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'total'::regclass;
INSERT INTO total (events) VALUES (1);
\echo :SQLSTATE

SELECT version FROM evstore.append('a-1', 'Common', '{"x": 1}');
SELECT version FROM evstore.append('a-1', 'Common', '{}');
SELECT version FROM evstore.append('a-2', 'Rare', '{"x": 4}');
SELECT evstore.wait_for('total') AND evstore.wait_for('rare') AS followed;
SELECT events, with_x, x, round(average, 2) AS average, last FROM total;
SELECT events, highest FROM rare;

-- A batch in which it finds nothing does not write the row again.
SELECT ctid AS place FROM rare \gset
SELECT version FROM evstore.append('a-1', 'Common', '{"x": 2}');
SELECT evstore.wait_for('rare');
SELECT ctid = :'place' AS untouched FROM rare;
SELECT version FROM evstore.append('a-1', 'Rare', '{}');
SELECT evstore.wait_for('rare');
SELECT ctid = :'place' AS untouched, events, highest FROM rare;

-- One that finds events already there has the empty row until the workers come.
BEGIN;
SELECT evstore.create_projection('late', query => 'SELECT count(*) AS events, bool_or(type = ''Rare'') AS any_rare FROM events');
SELECT events, any_rare FROM late;
COMMIT;
SELECT evstore.wait_for('late');
SELECT events, any_rare FROM late;

-- Its table goes like any read table.
SELECT evstore.drop_projection('late');
SELECT to_regclass('late') IS NULL AS gone;
SELECT count(evstore.drop_projection(name)) AS dropped FROM evstore.projections;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_projection_total CASCADE;
