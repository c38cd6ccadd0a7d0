-- Event tables and the guard that keeps them append-only.

CREATE FUNCTION evstore.create_event_table(name text DEFAULT 'events')
RETURNS regclass
AS 'MODULE_PATHNAME', 'evs_create_event_table'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.create_event_table(text) IS
	'make an event table and its batch view (new_events beside events)';

CREATE FUNCTION evstore.drop_event_table(event_table regclass)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_drop_event_table'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.drop_event_table(regclass) IS
	'drop an event table and its batch view; needs evstore.maintenance = on';

CREATE FUNCTION evstore.protect(target regclass)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_protect'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.protect(regclass) IS
	'make any table of yours append-only, under the same guard as an event table';

CREATE FUNCTION evstore._insert()
RETURNS trigger
AS 'MODULE_PATHNAME', 'evs_insert_trigger'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore._insert() IS
	'trigger that gives a plainly inserted event its version and position; a table that carries it is an event table';

CREATE FUNCTION evstore._guard()
RETURNS trigger
AS 'MODULE_PATHNAME', 'evs_guard_trigger'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore._guard() IS
	'trigger that refuses UPDATE, DELETE and TRUNCATE; a table that carries it is guarded';

CREATE TABLE evstore.maintenance_log (
	happened_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	session_role name NOT NULL DEFAULT SESSION_USER,
	acting_role  name NOT NULL DEFAULT CURRENT_USER,
	pid          integer NOT NULL DEFAULT pg_catalog.pg_backend_pid(),
	command      text NOT NULL,
	target       text NOT NULL
);
COMMENT ON TABLE evstore.maintenance_log IS
	'who changed what guarded table while evstore.maintenance was on';
SELECT pg_catalog.pg_extension_config_dump('evstore.maintenance_log', '');

CREATE TRIGGER evstore_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON evstore.maintenance_log
	FOR EACH STATEMENT EXECUTE FUNCTION evstore._guard();
CREATE TRIGGER evstore_guard_row BEFORE UPDATE OR DELETE ON evstore.maintenance_log
	FOR EACH ROW EXECUTE FUNCTION evstore._guard();
ALTER TABLE evstore.maintenance_log ENABLE ALWAYS TRIGGER evstore_guard;
ALTER TABLE evstore.maintenance_log ENABLE ALWAYS TRIGGER evstore_guard_row;
