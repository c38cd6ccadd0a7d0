-- Who may do what: a writer, a reader, the owner of a projection, nobody; and
-- a hostile schema first on the search path.

\set SHOW_CONTEXT never
CREATE ROLE regress_owner;
CREATE ROLE regress_writer;
CREATE ROLE regress_reader;
CREATE ROLE regress_projector;
CREATE ROLE regress_nobody;
CREATE SCHEMA regress_privileges AUTHORIZATION regress_owner;
GRANT USAGE ON SCHEMA regress_privileges TO regress_writer, regress_reader, regress_projector, regress_nobody;
CREATE SCHEMA regress_read_tables AUTHORIZATION regress_projector;
SET search_path = regress_privileges;

SET ROLE regress_owner;
SELECT evstore.create_event_table();
GRANT INSERT ON events TO regress_writer;
GRANT SELECT ON events TO regress_reader, regress_projector;
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}');

-- The writer appends and inserts; she does not read.
SET ROLE regress_writer;
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', expected_version => 1);
SELECT version FROM evstore.append('order-1', evstore.events('[{"type": "OrderShipped", "data": {}}]'));
INSERT INTO events (stream, type, data) VALUES ('order-2', 'OrderPlaced', '{"total": 20}');
COPY events (stream, type, data) FROM stdin;
order-2	OrderPaid	{}
\.
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', expected_version => 1);
\echo :SQLSTATE
SELECT * FROM events;
\echo :SQLSTATE
SELECT * FROM evstore.read_stream('order-1');
\echo :SQLSTATE
SELECT * FROM evstore.read_events();
\echo :SQLSTATE
SELECT evstore.stream_version('order-1');
\echo :SQLSTATE
UPDATE events SET data = '{}';
\echo :SQLSTATE
SELECT evstore.protect('events');
\echo :SQLSTATE

-- The reader reads; he does not write.
SET ROLE regress_reader;
SELECT version, type FROM evstore.read_stream('order-1');
SELECT count(*) FROM evstore.read_events();
SELECT evstore.stream_version('order-1');
SELECT count(*) FROM events;
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}');
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', evstore.events('[{"type": "OrderPaid", "data": {}}]'));
\echo :SQLSTATE
INSERT INTO events (stream, type, data) VALUES ('order-1', 'OrderPaid', '{}');
\echo :SQLSTATE

-- Nobody does neither, nor makes anything.
SET ROLE regress_nobody;
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}');
\echo :SQLSTATE
SELECT * FROM evstore.read_stream('order-1');
\echo :SQLSTATE
SELECT * FROM evstore.read_events();
\echo :SQLSTATE
SELECT evstore.stream_version('order-1');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT evstore.create_event_table('mine');
\set VERBOSITY default
\echo :SQLSTATE
SELECT evstore.create_projection('mine', query => 'SELECT stream, count(*) AS events FROM events GROUP BY stream');
\echo :SQLSTATE
SELECT evstore.protect('events');
\echo :SQLSTATE
SELECT evstore.drop_event_table('events');
\echo :SQLSTATE
-- What stands in the extension's schema is there to read, not to change.
SELECT count(*) >= 0 AS readable FROM evstore.projections;
SELECT count(*) >= 0 AS readable FROM evstore.appenders;
SELECT count(*) FROM evstore.maintenance_log;
\echo :SQLSTATE
SELECT count(*) FROM evstore._projection;
\echo :SQLSTATE
SELECT count(*) FROM evstore._checkpoint;
\echo :SQLSTATE
INSERT INTO evstore._checkpoint (projection) VALUES (0);
\echo :SQLSTATE
SELECT nextval('evstore.position_sequence');
\echo :SQLSTATE
SELECT setval('evstore.position_sequence', 1);
\echo :SQLSTATE
CREATE TABLE evstore.mine ();
\echo :SQLSTATE

-- Our triggers on a table of one's own harm nobody else.
SET ROLE regress_projector;
CREATE TABLE regress_read_tables.forged (a bigint, b bigint, c timestamptz, d integer, e uuid, stream bigint, type bigint, data text);
CREATE TRIGGER forged BEFORE INSERT ON regress_read_tables.forged FOR EACH ROW EXECUTE FUNCTION evstore._insert();
INSERT INTO regress_read_tables.forged (stream, type, data) VALUES (12345678901, 12345678, 'x');
\echo :SQLSTATE
CREATE TABLE regress_read_tables.narrow (x bigint);
CREATE TRIGGER forged BEFORE INSERT ON regress_read_tables.narrow FOR EACH ROW EXECUTE FUNCTION evstore._insert();
INSERT INTO regress_read_tables.narrow VALUES (NULL);
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{}', event_table => 'regress_read_tables.forged');
\echo :SQLSTATE
SELECT * FROM evstore.read_events(event_table => 'regress_read_tables.forged');
\echo :SQLSTATE
CREATE TABLE regress_read_tables.wrong_way (x integer);
CREATE TRIGGER forged AFTER INSERT ON regress_read_tables.wrong_way FOR EACH ROW EXECUTE FUNCTION evstore._insert();
INSERT INTO regress_read_tables.wrong_way VALUES (1);
\echo :SQLSTATE
CREATE TABLE regress_read_tables.wrong_guard (x integer);
CREATE TRIGGER forged AFTER UPDATE ON regress_read_tables.wrong_guard FOR EACH STATEMENT EXECUTE FUNCTION evstore._guard();
UPDATE regress_read_tables.wrong_guard SET x = 2;
\echo :SQLSTATE
SELECT evstore._insert();
\echo :SQLSTATE
SELECT evstore._guard();
\echo :SQLSTATE

-- A part of the columns is not the event: one needs the right to all of them.
SET ROLE regress_owner;
GRANT SELECT (position, stream, version), INSERT (stream, type) ON events TO regress_nobody;
SET ROLE regress_nobody;
SELECT count(*) FROM (SELECT stream, version FROM events) e;
SELECT * FROM evstore.read_stream('order-1');
\echo :SQLSTATE
SELECT * FROM evstore.read_events();
\echo :SQLSTATE
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}');
\echo :SQLSTATE
-- not even when an event was recorded
SELECT evstore._lag_seconds('events', 0) IS NULL AS hidden;
SET ROLE regress_reader;
SELECT evstore._lag_seconds('events', 0) > 0 AS told;

-- Row-level security: reading functions show what SELECT shows.
SET ROLE regress_owner;
SELECT evstore.create_event_table('secret');
SELECT version FROM evstore.append('open-1', 'Step', '1', event_table => 'secret');
SELECT version FROM evstore.append('closed-1', 'Step', '2', event_table => 'secret');
SELECT version FROM evstore.append('open-1', 'Step', '3', event_table => 'secret');
GRANT SELECT, INSERT ON secret TO regress_reader;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY open_only ON secret TO regress_reader USING (stream LIKE 'open-%');
SET ROLE regress_reader;
SELECT stream, version FROM secret ORDER BY position;
SELECT stream, version FROM evstore.read_events(event_table => 'secret');
SELECT stream, version FROM evstore.read_stream('open-1', event_table => 'secret');
SELECT stream, version FROM evstore.read_stream('closed-1', event_table => 'secret');
SELECT evstore.stream_version('open-1', 'secret');
SELECT evstore.stream_version('closed-1', 'secret');
SELECT version FROM evstore.append('open-1', 'Step', '4', expected_version => 2, event_table => 'secret');
SELECT version FROM evstore.append('closed-1', 'Step', '5', event_table => 'secret');
\echo :SQLSTATE
SET ROLE regress_owner;
SELECT stream, version FROM evstore.read_events(event_table => 'secret');

-- The projector declares a projection over what he may read; the table is his.
SET ROLE regress_projector;
SET search_path = regress_read_tables, regress_privileges;
SELECT evstore.create_projection('regress_orders', query =>
	$$SELECT stream, count(*) AS events FROM events GROUP BY stream$$);
SELECT evstore.wait_for('regress_orders');
SELECT stream, events FROM regress_orders ORDER BY stream;
SELECT relowner::regrole FROM pg_class WHERE oid = 'regress_read_tables.regress_orders'::regclass;
SELECT name, owner, last_error FROM evstore.projections WHERE name = 'regress_orders';
-- not over what he may not
SELECT evstore.create_projection('regress_secret', query =>
	$$SELECT stream, count(*) AS events FROM secret GROUP BY stream$$);
\echo :SQLSTATE
CREATE TABLE copied (stream text);
\set VERBOSITY terse
SELECT evstore.create_projection('regress_secret', statement =>
	$$INSERT INTO copied SELECT stream FROM new_secret$$);
\set VERBOSITY default
\echo :SQLSTATE
-- nor what he only names: it is the table that he must be able to read, as a
-- statement and a handler get whole events. A query may name its columns.
SET ROLE regress_owner;
SELECT evstore.create_event_table('named');
GRANT SELECT (position, stream) ON named TO regress_projector;
CREATE VIEW shown AS SELECT stream FROM named;
GRANT SELECT ON shown TO regress_projector;
SET ROLE regress_projector;
SELECT evstore.create_projection('regress_named', statement => 'INSERT INTO copied VALUES (NULL)', event_table => 'named');
\echo :SQLSTATE
CREATE FUNCTION handle(event evstore.event) RETURNS void LANGUAGE sql AS 'INSERT INTO copied VALUES (NULL)';
SELECT evstore.create_projection('regress_named', handler => 'handle', event_table => 'named');
\echo :SQLSTATE
SELECT evstore.create_projection('regress_named', statement => 'INSERT INTO copied SELECT stream FROM shown', event_table => 'events');
\echo :SQLSTATE
SELECT evstore.create_projection('regress_named', statement => 'INSERT INTO copied SELECT stream FROM new_events',
	read_table => 'copied', event_table => 'events');
SELECT evstore.replace_projection('regress_named', statement => 'INSERT INTO copied SELECT stream FROM shown');
\echo :SQLSTATE
SELECT evstore.drop_projection('regress_named');
SELECT evstore.create_projection('regress_named', query => 'SELECT stream, count(*) AS events FROM named GROUP BY stream');
SELECT evstore.drop_projection('regress_named');
-- nor where he may not
SELECT evstore.create_projection('regress_elsewhere', read_table => 'regress_privileges.elsewhere', query =>
	$$SELECT stream, count(*) AS events FROM events GROUP BY stream$$);
\echo :SQLSTATE
-- What he writes is parsed with his rights, too: to read a literal of a domain
-- is to run the domain's check.
CREATE FUNCTION climb(integer) RETURNS boolean LANGUAGE plpgsql AS
$$
BEGIN
	IF current_user <> 'regress_projector' THEN
		ALTER ROLE regress_projector SUPERUSER;
	END IF;
	RETURN true;
END
$$;
CREATE DOMAIN climbing AS integer CHECK (regress_read_tables.climb(value));
SELECT evstore.create_projection('regress_climb', query =>
	$$SELECT stream, count(*) FILTER (WHERE '{1}'::climbing[] IS NOT NULL) AS events FROM events GROUP BY stream$$);
SELECT evstore.create_projection('regress_climb_too', statement =>
	$$INSERT INTO copied SELECT stream FROM regress_privileges.new_events WHERE '{1}'::climbing[] IS NOT NULL$$);
SELECT evstore.wait_for('regress_climb'), evstore.wait_for('regress_climb_too');
SELECT stream, events FROM regress_climb ORDER BY stream;
SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_projector';
SELECT evstore.drop_projection('regress_climb'), evstore.drop_projection('regress_climb_too');
-- Another sees it and may wait for it, but not drop it nor read its table.
SET ROLE regress_reader;
SELECT name, owner FROM evstore.projections WHERE name = 'regress_orders';
SELECT evstore.wait_for('regress_orders');
SELECT evstore.drop_projection('regress_orders');
\echo :SQLSTATE
SELECT evstore.pause_projection('regress_orders');
\echo :SQLSTATE
SELECT evstore.resume_projection('regress_orders');
\echo :SQLSTATE
SELECT * FROM regress_read_tables.regress_orders;
\echo :SQLSTATE
-- nor keep it from being dropped, by a view of what stands in evstore
SELECT max(oid)::regclass AS batch_view FROM pg_class WHERE relnamespace = 'evstore'::regnamespace AND relname LIKE '\_batch\_%' \gset
CREATE TEMP VIEW blocking AS SELECT * FROM :batch_view;
SET ROLE regress_projector;
SELECT evstore.drop_projection('regress_orders');
SELECT to_regclass('regress_read_tables.regress_orders') AS read_table;

-- The owner of a projection can be rid of it, also when its table was given away: that is left to its owner then.
RESET ROLE;
GRANT CREATE ON SCHEMA regress_read_tables TO regress_owner;
SET ROLE regress_projector;
SELECT evstore.create_projection('regress_given', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream');
SELECT evstore.create_projection('regress_kept', query => 'SELECT stream, count(*) AS n FROM events GROUP BY stream');
SELECT evstore.create_projection('regress_view', query => 'SELECT stream, count(*) * 2 AS n FROM events GROUP BY stream');
SELECT evstore.create_projection('regress_state', query => 'SELECT stream, count(*) * 2 AS n FROM events GROUP BY stream');
COMMENT ON TABLE regress_kept IS 'mine';
RESET ROLE;
ALTER TABLE regress_given OWNER TO regress_owner;
ALTER TABLE regress_kept OWNER TO regress_owner;
ALTER VIEW regress_view OWNER TO regress_owner;
ALTER TABLE regress_state_state OWNER TO regress_owner;
SET ROLE regress_projector;
SELECT evstore.drop_projection('regress_given');
SELECT evstore.drop_projection('regress_kept', keep_table => true);
SELECT evstore.drop_projection('regress_view');
SELECT evstore.drop_projection('regress_state', keep_table => true);
SELECT relname, relowner::regrole, obj_description(oid, 'pg_class') FROM pg_class
WHERE relnamespace = 'regress_read_tables'::regnamespace AND relkind IN ('r', 'v') AND relname LIKE 'regress\_%' ORDER BY relname;
SELECT count(*) FROM evstore.projections WHERE name LIKE 'regress\_%';

-- A hostile schema before pg_catalog: its functions and operators never run
-- on behalf of evstore.
RESET ROLE;
RESET search_path;
CREATE SCHEMA regress_hostile;
CREATE FUNCTION regress_hostile.hijack() RETURNS void LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE FUNCTION regress_hostile.step(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT regress_hostile.hijack(); SELECT $1';
CREATE FUNCTION regress_hostile.step(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT regress_hostile.hijack(); SELECT $1';
CREATE AGGREGATE regress_hostile.count(*) (SFUNC = regress_hostile.step, STYPE = bigint, INITCOND = '0');
CREATE AGGREGATE regress_hostile.sum(bigint) (SFUNC = regress_hostile.step, STYPE = bigint, INITCOND = '0');
CREATE AGGREGATE regress_hostile.max(bigint) (SFUNC = regress_hostile.step, STYPE = bigint, INITCOND = '0');
DO $$
DECLARE
	head text;
	operand text;
	operator text;
BEGIN
	FOREACH head IN ARRAY ARRAY[
		'now() RETURNS timestamptz', 'clock_timestamp() RETURNS timestamptz', 'nextval(regclass) RETURNS bigint',
		'pg_get_viewdef(oid) RETURNS text', 'to_regclass(text) RETURNS regclass', 'pg_has_role(oid, text) RETURNS boolean',
		'split_part(text, text, integer) RETURNS text']
	LOOP
		EXECUTE format('CREATE FUNCTION regress_hostile.%s LANGUAGE sql AS %L', head,
			'SELECT regress_hostile.hijack(); SELECT NULL::' || split_part(head, ' RETURNS ', 2));
	END LOOP;
	FOREACH operand IN ARRAY '{bigint,text,name,oid,integer,regclass}'::text[] LOOP
		EXECUTE format('CREATE FUNCTION regress_hostile.compare(%1$s, %1$s) RETURNS boolean LANGUAGE sql AS %2$L', operand,
			'SELECT regress_hostile.hijack(); SELECT true');
		FOREACH operator IN ARRAY '{=,<,>,<=,>=,<>}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR regress_hostile.%s (LEFTARG = %2$s, RIGHTARG = %2$s, FUNCTION = regress_hostile.compare)',
				operator, operand);
		END LOOP;
	END LOOP;
	FOREACH operator IN ARRAY '{+,-}'::text[] LOOP
		EXECUTE format('CREATE OPERATOR regress_hostile.%s (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = regress_hostile.step)', operator);
	END LOOP;
END
$$;
CREATE DOMAIN regress_hostile.jsonb AS text;
CREATE DOMAIN regress_hostile.int8 AS text;
CREATE TABLE regress_hostile.pg_class (oid oid);
GRANT USAGE, CREATE ON SCHEMA regress_hostile TO regress_owner;
SET ROLE regress_owner;
SET search_path = regress_hostile, pg_catalog, regress_privileges;
SELECT evstore.create_event_table('regress_privileges.attacked');
SET evstore.event_table = 'regress_privileges.attacked';
SELECT version FROM evstore.append('order-1', 'OrderPlaced', '{"total": 10}', expected_version => 0);
SELECT version FROM evstore.append('order-1', evstore.events('[{"type": "OrderPaid", "data": {}}]'), -1);
SELECT version FROM evstore.append('order-1', 'OrderPaid', '{}', expected_version => 1);
\echo :SQLSTATE
INSERT INTO regress_privileges.attacked (stream, type, data) VALUES ('order-1', 'OrderShipped', '{}');
SELECT version, type FROM evstore.read_stream('order-1');
SELECT stream FROM regress_privileges.new_attacked;
SELECT version, type FROM evstore.read_events(types => '{OrderPaid}', categories => '{order}');
SELECT evstore.stream_version('order-1');
-- the path that does not change a table: triggers make append use the executor
CREATE FUNCTION regress_privileges.watch() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER watch AFTER INSERT ON regress_privileges.attacked FOR EACH ROW EXECUTE FUNCTION regress_privileges.watch();
SELECT version FROM evstore.append('order-1', 'OrderReturned', '{}', expected_version => 3);
-- A projection means what it says when it is made, and its upkeep is not
-- turned by what is put on the path.
SELECT evstore.create_projection('regress_attacked', read_table => 'regress_privileges.attacked_streams', query =>
	$$SELECT stream, pg_catalog.count(*) AS events, pg_catalog.max(version) AS last, pg_catalog.sum(version) AS total
	FROM regress_privileges.attacked GROUP BY stream$$);
SELECT evstore.wait_for('regress_attacked');
SELECT version FROM evstore.append('order-1', 'OrderClosed', '{}');
SELECT evstore.wait_for('regress_attacked');
SELECT state, last_error FROM evstore.projections WHERE name OPERATOR(pg_catalog.=) 'regress_attacked';
SELECT stream, events, last, total FROM regress_privileges.attacked_streams;
SELECT evstore.drop_projection('regress_attacked');
SELECT pid FROM evstore.appenders;
RESET ROLE;
RESET search_path;
RESET evstore.event_table;

SET evstore.maintenance = on;
SET client_min_messages = warning;
DROP SCHEMA regress_privileges, regress_read_tables, regress_hostile CASCADE;
DROP ROLE regress_owner, regress_writer, regress_reader, regress_projector, regress_nobody;
