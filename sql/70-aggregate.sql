-- Aggregates: the state of a stream, folded from its events.

CREATE SEQUENCE evstore._aggregate_id AS integer;
SELECT pg_catalog.pg_extension_config_dump('evstore._aggregate_id', '');

CREATE TABLE evstore._aggregate (
	id             integer PRIMARY KEY DEFAULT pg_catalog.nextval('evstore._aggregate_id'),
	event_table    regclass NOT NULL,
	category       text COLLATE "C" NOT NULL,
	owner          regrole NOT NULL,
	initial_state  text,
	settings       text[] NOT NULL,
	snapshot_every integer CHECK (snapshot_every > 0),
	created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
	UNIQUE (event_table, category)
);
COMMENT ON TABLE evstore._aggregate IS
	'one row an aggregate; what it calls is kept in the view evstore._apply_<id>';
SELECT pg_catalog.pg_extension_config_dump('evstore._aggregate', '');

CREATE TABLE evstore._snapshot (
	aggregate       integer NOT NULL REFERENCES evstore._aggregate ON DELETE CASCADE,
	stream          text COLLATE "C" NOT NULL,
	version         bigint NOT NULL,
	"position"      bigint NOT NULL,
	definition_hash text NOT NULL,
	state           text,
	taken_at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (aggregate, stream)
) WITH (fillfactor = 80);
COMMENT ON TABLE evstore._snapshot IS
	'the newest kept state of a stream; what it says can be had from the events at any time, so it is not dumped';

CREATE FUNCTION evstore.create_aggregate(
	category text, apply text, initial_state text DEFAULT NULL,
	snapshot_every integer DEFAULT NULL, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_create_aggregate'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.create_aggregate(text, text, text, integer, regclass) IS
	'declare how the state of the streams of a category follows from their events';

CREATE FUNCTION evstore.drop_aggregate(category text, event_table regclass DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_drop_aggregate'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.drop_aggregate(text, regclass) IS
	'forget an aggregate and its snapshots; no event is touched';

CREATE FUNCTION evstore.load(
	stream text, as_of_version bigint DEFAULT NULL, as_of_time timestamptz DEFAULT NULL,
	event_table regclass DEFAULT NULL,
	OUT state jsonb, OUT version bigint, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_load'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.load(text, bigint, timestamptz, regclass) IS
	'the state of a stream, now or as of a version or a time, as jsonb';

CREATE FUNCTION evstore.load_as(
	state_type anyelement, stream text, as_of_version bigint DEFAULT NULL,
	as_of_time timestamptz DEFAULT NULL, event_table regclass DEFAULT NULL)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'evs_load_as'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.load_as(anyelement, text, bigint, timestamptz, regclass) IS
	'the state of a stream in its own type, as in load_as(NULL::account, ''account-1'')';

CREATE FUNCTION evstore._take_snapshot(stream text, event_table regclass)
RETURNS boolean
AS 'MODULE_PATHNAME', 'evs_take_snapshot'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore._take_snapshot(text, regclass) IS
	'keep the state of a stream as it is now; what the projections of snapshots call';


CREATE FUNCTION evstore.drop_snapshots(category text, event_table regclass DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_drop_snapshots'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.drop_snapshots(text, regclass) IS
	'forget the snapshots of an aggregate; load() answers the same without them';

CREATE VIEW evstore.aggregates AS
	SELECT a.category, a.event_table, a.owner, a.initial_state, a.snapshot_every,
		s.snapshots, s.newest_snapshot
	FROM evstore._aggregate a
		CROSS JOIN LATERAL (SELECT count(*) AS snapshots, max(taken_at) AS newest_snapshot
			FROM evstore._snapshot WHERE aggregate = a.id) s;
COMMENT ON VIEW evstore.aggregates IS
	'every aggregate, and how many snapshots of its streams are kept';
GRANT SELECT ON evstore.aggregates TO PUBLIC;
