-- Rebuilding: read tables are built anew beside those in use, and put in place.

CREATE FUNCTION evstore.rebuild_projection(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_rebuild_projection'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.rebuild_projection(text) IS
	'build the read tables of a projection anew from all events, while they stay in use, and put them in place';

CREATE FUNCTION evstore.cancel_rebuild(name text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'evs_cancel_rebuild'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.cancel_rebuild(text) IS
	'give up the rebuild of a projection, which stays as it is; false if there is none';

CREATE VIEW evstore.rebuild_progress AS
	SELECT p.name AS projection,
		CASE WHEN c.paused THEN 'paused'
			WHEN c.stopped THEN 'stopped'
			WHEN c.failures > 0 THEN 'failing'
			WHEN NOT w.taken THEN 'starting'
			WHEN h.head - r."position" > 1000 THEN 'building'
			ELSE 'swapping'
		END AS state,
		r."position", h.head,
		CASE WHEN h.head > r."position" THEN pg_catalog.round(100.0 * r."position" / h.head, 1)
			WHEN h.head IS NOT NULL THEN 100.0 END AS percent,
		w.events_per_second,
		CASE WHEN h.head > r."position" THEN (h.head - r."position") / NULLIF(w.events_per_second, 0)
			WHEN h.head IS NOT NULL THEN 0 END AS seconds_left,
		n.created_at AS started_at, c.failures, c.failed_at,
		CASE WHEN pg_catalog.pg_has_role(p.owner, 'USAGE') THEN c.last_error END AS last_error
	FROM evstore._projection n
		JOIN evstore._projection p ON p.id = n.rebuilds
		JOIN evstore._checkpoint c ON c.projection = n.id
		CROSS JOIN LATERAL evstore._projection_progress(n.id) w
		CROSS JOIN LATERAL (SELECT GREATEST(c."position", w."position") AS "position") r
		CROSS JOIN (SELECT evstore._safe_position() AS head) h;
COMMENT ON VIEW evstore.rebuild_progress IS
	'every rebuild that is under way, how far it came, and how long it will take';
GRANT SELECT ON evstore.rebuild_progress TO PUBLIC;

CREATE FUNCTION evstore.replace_projection(
	name text, query text DEFAULT NULL, statement text DEFAULT NULL,
	handler text DEFAULT NULL, handlers jsonb DEFAULT NULL, read_tables text[] DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_replace_projection'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.replace_projection(text, text, text, text, jsonb, text[]) IS
	'give a projection another definition: what it makes of all events is built beside the read tables, and put in place';
