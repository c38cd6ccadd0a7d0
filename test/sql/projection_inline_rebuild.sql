-- Rebuilding and replacing inline projections over several event tables: those
-- who append to any table that is followed then apply it, and nobody else.

CREATE SCHEMA regress_inline_rebuild;
SET search_path = regress_inline_rebuild;
SELECT evstore.create_event_table();
SELECT evstore.create_event_table('others');
CREATE FUNCTION replaced(name text) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
	FOR i IN 1..6000 LOOP
		IF NOT EXISTS (SELECT FROM evstore.rebuild_progress WHERE projection = name) THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END
$$;
CREATE FUNCTION append_both() RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	PERFORM evstore.append('s', 'T', '{}');
	PERFORM evstore.append('s', 'O', '{}', event_table => 'others');
END
$$;
SELECT append_both();
SELECT evstore.create_projection('regress_types', mode => 'inline', read_table => 'types', query => 'SELECT type, count(*) AS n FROM events GROUP BY type');

-- Another table as well.
SELECT evstore.replace_projection('regress_types', query =>
	'SELECT type, count(*) AS n FROM (SELECT type FROM events UNION ALL SELECT type FROM others) e GROUP BY type');
SELECT append_both();
SELECT replaced('regress_types');
SELECT append_both();
SELECT * FROM types ORDER BY type;
SELECT * FROM evstore.verify_projection('regress_types');
SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'evstore_inline' AND tgrelid IN ('events'::regclass, 'others'::regclass) ORDER BY 1;

-- One has lost its trigger: a rebuild puts it back, and the events that have passed.
SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP TRIGGER evstore_inline ON others;
RESET client_min_messages;
RESET evstore.maintenance;
SELECT append_both();
SELECT state FROM evstore.projections WHERE name = 'regress_types';
SELECT * FROM types ORDER BY type;
SELECT evstore.rebuild_projection('regress_types');
SELECT replaced('regress_types');
SELECT append_both();
SELECT state FROM evstore.projections WHERE name = 'regress_types';
SELECT * FROM types ORDER BY type;

-- The other alone.
SELECT evstore.replace_projection('regress_types', query => 'SELECT type, 10 * count(*) AS n FROM others GROUP BY type');
SELECT replaced('regress_types');
SELECT append_both();
SELECT * FROM types ORDER BY type;
SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'evstore_inline' AND tgrelid IN ('events'::regclass, 'others'::regclass) ORDER BY 1;
SELECT evstore.drop_projection('regress_types');
SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'evstore_inline' AND tgrelid IN ('events'::regclass, 'others'::regclass) ORDER BY 1;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_inline_rebuild CASCADE;
