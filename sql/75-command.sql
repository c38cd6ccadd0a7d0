-- Commands: load, decide, append, in one call.

CREATE SEQUENCE evstore._command_id AS integer;
SELECT pg_catalog.pg_extension_config_dump('evstore._command_id', '');

CREATE TABLE evstore._command (
	id          integer PRIMARY KEY DEFAULT pg_catalog.nextval('evstore._command_id'),
	event_table regclass NOT NULL,
	category    text COLLATE "C" NOT NULL,
	name        text COLLATE "C" NOT NULL,
	owner       regrole NOT NULL,
	settings    text[] NOT NULL,
	created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
	UNIQUE (event_table, category, name)
);
COMMENT ON TABLE evstore._command IS
	'one row a command; the function that decides is kept in the view evstore._decide_<id>';
SELECT pg_catalog.pg_extension_config_dump('evstore._command', '');

CREATE TABLE evstore._command_without_events (
	event_table regclass NOT NULL,
	command_id  uuid NOT NULL,
	stream      text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	"position"  bigint NOT NULL,
	executed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (event_table, command_id)
);
COMMENT ON TABLE evstore._command_without_events IS
	'commands with an id that decided on no event, so that they are not decided again; others are known by the ids of their events';
SELECT pg_catalog.pg_extension_config_dump('evstore._command_without_events', '');

CREATE FUNCTION evstore.create_command(
	name text, category text, decide text, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_create_command'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.create_command(text, text, text, regclass) IS
	'declare a command: a function (state, command jsonb) that returns the events it decides on, or raises an error to refuse';

CREATE FUNCTION evstore.drop_command(name text, category text, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_drop_command'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.drop_command(text, text, regclass) IS
	'forget a command; no event is touched';

CREATE FUNCTION evstore.execute(
	stream text, command text, args jsonb DEFAULT '{}', command_id uuid DEFAULT NULL,
	expected_version bigint DEFAULT NULL, max_retries integer DEFAULT 100, event_table regclass DEFAULT NULL,
	OUT state jsonb, OUT version bigint, OUT "position" bigint, OUT events evstore.new_event[])
AS 'MODULE_PATHNAME', 'evs_execute'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.execute(text, text, jsonb, uuid, bigint, integer, regclass) IS
	'load a stream, decide a command on its state, and append what was decided, again if somebody else was faster';

CREATE VIEW evstore.commands AS
	SELECT name, category, event_table, owner FROM evstore._command;
COMMENT ON VIEW evstore.commands IS
	'every command';
GRANT SELECT ON evstore.commands TO PUBLIC;
