-- What is shown of projections. Whatever the number of its shards, each is one row.

CREATE VIEW evstore.projections AS
	SELECT p.name, p.kind, p.mode,
		CASE WHEN c.paused THEN 'paused'
			WHEN c.stopped THEN 'stopped'
			WHEN p.mode = 'inline' THEN CASE WHEN EXISTS (SELECT FROM pg_catalog.unnest(COALESCE(p.event_tables, ARRAY[p.event_table])) e
				WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
					WHERE t.tgrelid = e AND t.tgname = 'evstore_inline' AND t.tgenabled = 'A')) THEN 'detached' ELSE 'live' END
			WHEN c.failures > 0 THEN 'failing'
			WHEN NOT c.taken THEN 'starting'
			WHEN h.head - r."position" > 10000 THEN 'catching up'
			ELSE 'live'
		END AS state,
		p.owner, p.event_table, p.read_table,
		r."position", h.head,
		-- on a standby nobody knows the head
		CASE WHEN h.head > r."position" THEN h.head - r."position"
			WHEN h.head IS NOT NULL THEN 0 END AS lag_events,
		CASE WHEN h.head > r."position" THEN (SELECT pg_catalog.max(evstore._lag_seconds(t, r."position")) FROM pg_catalog.unnest(COALESCE(p.event_tables, ARRAY[p.event_table])) t)
			WHEN h.head IS NOT NULL THEN 0 END AS lag_seconds,
		c.events_per_second, c.applied_at, c.failures, c.failed_at, c.failed_position,
		-- an error message may quote data that only the owner may read
		CASE WHEN pg_catalog.pg_has_role(p.owner, 'USAGE') THEN c.last_error END AS last_error,
		-- what a key cannot be computed of, every shard skips
		CASE WHEN p.shards = 1 THEN c.skipped ELSE (SELECT pg_catalog.count(DISTINCT s."position")::integer
			FROM evstore._skipped s JOIN evstore._projection o ON o.id = s.projection WHERE o.id = p.id OR o.shard_of = p.id) END AS skipped_events,
		c.parked AS parked_streams,
		p.batch_size, p.on_error, p.retries, p.timeout, p.priority,
		a.verified_at, a.differences, p.shards
	FROM evstore._projection p
		-- the slowest of its shards, and the worst
		CROSS JOIN LATERAL (
			SELECT pg_catalog.bool_or(c.paused) AS paused, pg_catalog.bool_or(c.stopped) AS stopped,
				pg_catalog.bool_and(w.taken) AS taken,
				-- where nothing changed a read table, only memory knows how far it is
				pg_catalog.min(GREATEST(c."position", w."position")) AS "position",
				pg_catalog.min(w.events_per_second) AS events_per_second, pg_catalog.max(c.applied_at) AS applied_at,
				pg_catalog.max(c.failures) AS failures,
				(pg_catalog.array_agg(c.failed_at ORDER BY c.stopped DESC, c.failures DESC, s.shard))[1] AS failed_at,
				(pg_catalog.array_agg(c.failed_position ORDER BY c.stopped DESC, c.failures DESC, s.shard))[1] AS failed_position,
				(pg_catalog.array_agg(c.last_error ORDER BY c.stopped DESC, c.failures DESC, s.shard))[1] AS last_error,
				pg_catalog.sum(c.skipped)::integer AS skipped, pg_catalog.sum(c.parked)::integer AS parked
			FROM evstore._projection s JOIN evstore._checkpoint c ON c.projection = s.id
				CROSS JOIN LATERAL evstore._projection_progress(s.id) w
			WHERE s.id = p.id OR s.shard_of = p.id) c
		LEFT JOIN evstore._audit a ON a.projection = p.id
		CROSS JOIN (SELECT evstore._safe_position() AS head) h
		-- an inline one has no way to go
		CROSS JOIN LATERAL (SELECT CASE WHEN p.mode = 'inline' THEN h.head ELSE c."position" END AS "position") r
	WHERE p.rebuilds IS NULL AND p.shard_of IS NULL AND c."position" IS NOT NULL;
COMMENT ON VIEW evstore.projections IS
	'every projection with its state, how far it came, and what it last failed on';
GRANT SELECT ON evstore.projections TO PUBLIC;
