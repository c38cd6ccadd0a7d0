-- The global order. Each nextval reserves one range of positions, which the
-- backends then share out in shared memory; src/store/position.c has the proof.

CREATE SEQUENCE evstore.position_sequence AS bigint INCREMENT BY 1024 MINVALUE 1 NO CYCLE;
COMMENT ON SEQUENCE evstore.position_sequence IS
	'the first position of the range reserved last; its increment is the length of a range';
SELECT pg_catalog.pg_extension_config_dump('evstore.position_sequence', '');
-- The current value tells no secret, and every reader needs it after a restart.
GRANT SELECT ON SEQUENCE evstore.position_sequence TO PUBLIC;

CREATE FUNCTION evstore._safe_position()
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_safe_position'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._safe_position() IS
	'how far the status views may look; not for WHERE: the snapshot of the statement that calls it is older than its answer';

CREATE FUNCTION evstore._appenders(
	OUT pid integer, OUT lowest_position bigint, OUT since timestamptz, OUT prepared_xid xid)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'evs_appenders'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._appenders() IS
	'the rows of the view evstore.appenders';

-- Of the prepared transactions only those that PostgreSQL knows: the others were
-- finished, or are not prepared yet.
CREATE VIEW evstore.appenders AS
	SELECT a.pid, a.lowest_position, coalesce(a.since, p.prepared) AS since, p.gid AS prepared
	FROM evstore._appenders() a
		LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction OPERATOR(pg_catalog.=) a.prepared_xid
	WHERE a.pid IS NOT NULL OR p.gid IS NOT NULL;
COMMENT ON VIEW evstore.appenders IS
	'open and prepared transactions of this database that have appended: each holds the safe position below its lowest position';
GRANT SELECT ON evstore.appenders TO PUBLIC;
