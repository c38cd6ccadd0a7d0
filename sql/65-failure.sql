-- Events that a projection was told not to insist on.

CREATE TABLE evstore._skipped (
	projection integer NOT NULL,
	"position" bigint NOT NULL,
	event_table regclass NOT NULL,
	stream     text COLLATE "C",
	version    bigint,
	type       text COLLATE "C" NOT NULL,
	parked     boolean NOT NULL,
	-- NULL for an event that was held back because of one before it
	sqlstate   text,
	message    text,
	detail     text,
	hint       text,
	context    text,
	skipped_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (projection, "position")
);
COMMENT ON TABLE evstore._skipped IS
	'events that a projection has passed without applying them';
CREATE INDEX ON evstore._skipped (projection, stream, "position") WHERE parked;
SELECT pg_catalog.pg_extension_config_dump('evstore._skipped', '');

-- One row a stream, so that a batch need not look at every parked event.
CREATE TABLE evstore._parked (
	projection integer NOT NULL,
	event_table regclass NOT NULL,
	stream     text COLLATE "C" NOT NULL,
	version    bigint NOT NULL,
	PRIMARY KEY (projection, event_table, stream)
) WITH (fillfactor = 50);
COMMENT ON TABLE evstore._parked IS
	'streams of which a projection holds every event back, and the last version that it has parked';
SELECT pg_catalog.pg_extension_config_dump('evstore._parked', '');

CREATE FUNCTION evstore.replay_parked(projection text, stream text, event_table regclass DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_replay_parked'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.replay_parked(text, text, regclass) IS
	'apply the parked events of a stream, of one event table or of all, in their order, and hold the stream back no longer; returns how many there were';

CREATE VIEW evstore.skipped_events AS
	SELECT p.name AS projection, s.event_table, s."position",
		CASE WHEN r.events THEN s.stream END AS stream,
		CASE WHEN r.events THEN s.version END AS version,
		CASE WHEN r.events THEN s.type END AS type,
		s.parked, s.sqlstate,
		CASE WHEN r.errors THEN s.message END AS message,
		CASE WHEN r.errors THEN s.detail END AS detail,
		CASE WHEN r.errors THEN s.hint END AS hint,
		CASE WHEN r.errors THEN s.context END AS context,
		s.skipped_at
	FROM evstore._skipped s
		JOIN evstore._projection p ON p.id = s.projection
		-- an error message may quote data, and a stream's name may tell something, too
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(p.owner, 'USAGE') AS errors) o
		CROSS JOIN LATERAL (SELECT o.errors, o.errors OR (pg_catalog.has_table_privilege(s.event_table, 'SELECT')
			AND NOT pg_catalog.row_security_active(s.event_table)) AS events) r
	-- what a rebuild passes is the projection's when it is in place
	WHERE p.rebuilds IS NULL
		-- what a key cannot be computed of, every shard skips
		AND (p.shard = 0 OR NOT EXISTS (
			SELECT FROM evstore._projection o JOIN evstore._skipped e ON e.projection = o.id AND e."position" = s."position"
			WHERE (o.id = p.shard_of OR o.shard_of = p.shard_of) AND o.shard < p.shard));
COMMENT ON VIEW evstore.skipped_events IS
	'events that projections have passed without applying them: skipped for good, or parked';
GRANT SELECT ON evstore.skipped_events TO PUBLIC;
