-- The recipes of docs/reference.md, section Privileges, as they stand there (but
-- for the names of roles and schemas), and then what each of their roles may do.
-- Run from the top of the source tree.

\set SHOW_CONTEXT never
\set recipes `perl -0777 -ne 's/.*^## Privileges$(.*?)^## .*/$1/ms; s/\bstore/regress_store/g; print /^\x60\x60\x60sql\n(.*?)^\x60\x60\x60/msg' docs/reference.md`
SET client_min_messages = error;
:recipes
RESET client_min_messages;
SELECT evstore.wait_for('regress_store_orders');

-- Run each command as each role, note what comes of it, and undo it.
CREATE ROLE regress_store_nobody;
GRANT USAGE ON SCHEMA regress_store, regress_store_views TO regress_store_nobody;
CREATE TEMP TABLE outcome (number serial, command text, role text, outcome text);
CREATE PROCEDURE pg_temp.try(commands text[]) LANGUAGE plpgsql AS
$$
DECLARE
	command text;
	kind text;
	outcome text;
BEGIN
	FOREACH command IN ARRAY commands LOOP
		FOREACH kind IN ARRAY ARRAY['admin', 'writer', 'reader', 'projector', 'nobody'] LOOP
			BEGIN
				PERFORM set_config('role', 'regress_store_' || kind, true);
				EXECUTE command;
				RAISE EXCEPTION 'undone' USING ERRCODE = 'ZZ000';
			EXCEPTION WHEN OTHERS THEN
				outcome := CASE SQLSTATE WHEN 'ZZ000' THEN 'yes' ELSE SQLSTATE END;
			END;
			INSERT INTO outcome (command, role, outcome) VALUES (command, kind, outcome);
		END LOOP;
	END LOOP;
END
$$;
SET search_path = regress_store;
CALL pg_temp.try(ARRAY[
	$$SELECT evstore.append('order-1', 'T', '{}')$$,
	$$SELECT evstore.append('order-1', 'T', jsonb '{}')$$,
	$$SELECT evstore.append('order-1', evstore.events('[{"type": "T", "data": {}}]'))$$,
	$$INSERT INTO events (stream, type, data) VALUES ('order-1', 'T', '{}')$$,
	$$INSERT INTO events (stream, type, data) VALUES ('order-1', 'T', '{}') RETURNING version$$,
	$$SELECT FROM events$$,
	$$SELECT FROM evstore.read_stream('order-1')$$,
	$$SELECT FROM evstore.read_events()$$,
	$$SELECT evstore.stream_version('order-1')$$,
	$$SELECT FROM new_events$$,
	$$UPDATE events SET data = '{}'$$,
	$$DELETE FROM events$$,
	$$TRUNCATE events$$,
	$$SET evstore.maintenance = on$$,
	$$SELECT evstore.drop_event_table('events')$$,
	$$SELECT evstore.protect('events')$$,
	$$SELECT evstore.create_event_table('more_events')$$,
	$$ALTER TABLE events ADD COLUMN more text$$,
	$$CREATE INDEX ON events (type)$$,
	$$CREATE POLICY more ON events USING (true)$$,
	$$SELECT evstore.create_projection('regress_store_views.more', 'SELECT type, count(*) AS n FROM events GROUP BY type')$$,
	$$SELECT evstore.pause_projection('regress_store_orders')$$,
	$$SELECT evstore.resume_projection('regress_store_orders')$$,
	$$SELECT evstore.drop_projection('regress_store_orders')$$,
	$$SELECT FROM evstore.projections$$,
	$$SELECT FROM evstore.appenders$$,
	$$SELECT FROM regress_store_views.orders$$,
	$$DELETE FROM regress_store_views.orders$$,
	$$SELECT FROM evstore.maintenance_log$$,
	$$DELETE FROM evstore.maintenance_log$$,
	$$SELECT FROM evstore._projection$$,
	$$UPDATE evstore._checkpoint SET position = 0$$,
	$$SELECT nextval('evstore.position_sequence')$$,
	$$DROP EXTENSION evstore CASCADE$$]);
-- (who has appended, rolled back or not, must commit before waiting)
CALL pg_temp.try(ARRAY[$$SELECT evstore.wait_for('regress_store_orders')$$]);
SELECT command, role, outcome FROM outcome ORDER BY number \crosstabview

-- The right to set evstore.maintenance is not the right to make use of it.
GRANT SET ON PARAMETER evstore.maintenance TO regress_store_admin;
SET ROLE regress_store_admin;
SET evstore.maintenance = on;
DELETE FROM events;
\echo :SQLSTATE
TRUNCATE events;
\echo :SQLSTATE
SELECT evstore.drop_event_table('events');
\echo :SQLSTATE
RESET ROLE;
RESET evstore.maintenance;
SELECT stream, version, type FROM events ORDER BY position;
SELECT stream, events FROM regress_store_views.orders;

SET evstore.maintenance = on;
SET client_min_messages = warning;
RESET search_path;
SELECT evstore.drop_projection('regress_store_orders');
REVOKE SET ON PARAMETER evstore.maintenance FROM regress_store_admin;
DROP OWNED BY regress_store_admin, regress_store_writer, regress_store_reader, regress_store_projector, regress_store_nobody CASCADE;
DROP SCHEMA regress_store, regress_store_views CASCADE;
DROP ROLE regress_store_admin, regress_store_writer, regress_store_reader, regress_store_projector, regress_store_nobody;
