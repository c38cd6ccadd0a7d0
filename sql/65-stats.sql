-- Numbers to watch, from shared memory: reading them costs no more than a look,
-- and keeping them no write.

CREATE FUNCTION evstore._counters(
	OUT transactions bigint, OUT events bigint, OUT conflicts bigint, OUT failed_conditions bigint,
	OUT waits bigint, OUT wait_timeouts bigint)
AS 'MODULE_PATHNAME', 'evs_counters'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore._counters() IS
	'the counters of the view evstore.stats';

CREATE FUNCTION evstore._projection_stats(
	OUT projection integer, OUT batches bigint, OUT positions bigint, OUT failures bigint, OUT busy_seconds double precision)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'evs_projection_stats'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore._projection_stats() IS
	'the rows of the view evstore.projection_stats, by id';

CREATE VIEW evstore.stats AS
	SELECT c.transactions, c.events, c.conflicts, c.failed_conditions, c.waits, c.wait_timeouts,
		evstore._safe_position() AS safe_position, a.open_appends, a.oldest_append_seconds
	FROM evstore._counters() c,
		(SELECT pg_catalog.count(*) AS open_appends,
			coalesce(extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.min(since)), 0)::double precision
				AS oldest_append_seconds
		FROM evstore.appenders) a;
COMMENT ON VIEW evstore.stats IS
	'what has happened in this database since the server''s start, and what holds the safe position back now';
GRANT SELECT ON evstore.stats TO PUBLIC;

CREATE VIEW evstore.projection_stats AS
	SELECT p.name, coalesce(pg_catalog.sum(s.batches), 0)::bigint AS batches,
		-- each shard passes them all
		coalesce(pg_catalog.min(s.positions), 0) AS positions,
		coalesce(pg_catalog.sum(s.failures), 0)::bigint AS failures, coalesce(pg_catalog.sum(s.busy_seconds), 0) AS busy_seconds
	FROM evstore._projection p LEFT JOIN evstore._projection_stats() s ON s.projection OPERATOR(pg_catalog.=) p.id
	WHERE p.rebuilds IS NULL
	GROUP BY p.name, coalesce(p.shard_of, p.id);
COMMENT ON VIEW evstore.projection_stats IS
	'what each projection has done since the workers took it up';
GRANT SELECT ON evstore.projection_stats TO PUBLIC;
