-- Names of streams up to the 2048 bytes that an index can hold, and beyond. The
-- names are such as cannot be compressed.

\set SHOW_CONTEXT never
CREATE SCHEMA regress_long_names;
SET search_path = regress_long_names;
SELECT evstore.create_event_table();
CREATE FUNCTION name_of(bytes integer) RETURNS text LANGUAGE sql AS
$$ SELECT 'film-' || left(string_agg(md5(n::text), ''), bytes - 5) FROM generate_series(1, 100) n $$;
SELECT name_of(1024) AS kilobyte, name_of(2048) AS longest, left(name_of(2048), 2047) || '-' AS sibling,
	'é' || repeat('ü', 1023) AS longest_accented \gset
SELECT octet_length(:'kilobyte'), octet_length(:'longest'), octet_length(:'sibling'), octet_length(:'longest_accented'), length(:'longest_accented');

-- All ways in, by all names that fit.
CREATE TABLE name (number serial, name text);
INSERT INTO name (name) VALUES (:'kilobyte'), (:'longest'), (:'sibling'), (:'longest_accented');
SELECT number, a.version FROM name, LATERAL evstore.append(name, 'Shot', '1', expected_version => 0) a ORDER BY number;
SELECT number, a.version FROM name, LATERAL evstore.append(name, evstore.events('[{"type": "Cut", "data": 2}, {"type": "Cut", "data": 3}]'), 1) a ORDER BY number;
INSERT INTO events (stream, type, data) SELECT name, 'Shown', '4' FROM name ORDER BY number;
INSERT INTO events (stream, version, type, data) SELECT name, 5, 'Shown', '5' FROM name ORDER BY number;
-- the other way into the table
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER watch AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION watch();
SELECT number, a.version FROM name, LATERAL evstore.append(name, 'Shown', '6', expected_version => 5) a ORDER BY number;

-- Names that differ in their last byte are two streams.
SELECT number, evstore.stream_version(name), (SELECT string_agg(data::text, ' ' ORDER BY version) FROM evstore.read_stream(name)) AS read,
	(SELECT count(*) FROM evstore.read_stream(name, backwards => true)) AS backwards,
	(SELECT count(*) FROM evstore.read_events() e WHERE e.stream = name) AS in_all
FROM name ORDER BY number;
SELECT count(*) FROM evstore.read_events(categories => '{film}');
-- a projection by stream
SELECT evstore.create_projection('regress_long_names', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream');
SELECT evstore.wait_for('regress_long_names');
SELECT number, n FROM name JOIN regress_long_names ON stream = name ORDER BY number;

-- One byte more is refused everywhere, in the same words.
CREATE FUNCTION refused(command text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
	detail text;
BEGIN
	EXECUTE command USING regress_long_names.name_of(2049), repeat('ü', 1025);
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN format('%s %s: %s', SQLSTATE, left(SQLERRM, 100), detail);
END
$$;
SELECT refused('SELECT evstore.append($1, ''Shot'', ''{}'')'),
	refused('SELECT evstore.append($2, ''Shot'', jsonb ''{}'')');
SELECT refused('SELECT evstore.append($1, evstore.events(''[{"type": "Shot", "data": {}}]''))'),
	refused('INSERT INTO events (stream, type, data) VALUES ($1, ''Shot'', ''{}'')');
SELECT refused('SELECT evstore.read_stream($1)'), refused('SELECT evstore.stream_version($2)');
-- so is what a further index cannot hold, in PostgreSQL's words
CREATE INDEX by_type ON events (stream, type);
SELECT refused('SELECT evstore.append(left($1, 2048), left($1, 2048), ''{}'')') LIKE '54000 index row size % exceeds btree version 4 maximum 2704 for index "by_type":%' AS refused;
SELECT number, evstore.stream_version(name) FROM name ORDER BY number;

SET evstore.maintenance = on;
SET client_min_messages = warning;
SELECT evstore.drop_projection('regress_long_names');
RESET search_path;
DROP SCHEMA regress_long_names CASCADE;
