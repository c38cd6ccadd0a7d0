-- Truth: comparing read tables with what the events make of them.

CREATE FUNCTION evstore._nearly_equal(a double precision, b double precision, tolerance double precision)
RETURNS boolean
AS 'MODULE_PATHNAME', 'evs_nearly_equal'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION evstore._nearly_equal(double precision, double precision, double precision) IS
	'whether two sums of floats are the same but for the order in which they were summed up';

CREATE FUNCTION evstore.verify_projection(name text, sample double precision DEFAULT 1)
RETURNS TABLE (key jsonb, expected jsonb, actual jsonb)
AS 'MODULE_PATHNAME', 'evs_verify_projection'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.verify_projection(text, double precision) IS
	'the rows in which the read tables of a projection differ from what the events up to its checkpoint make of them';

CREATE FUNCTION evstore.projection_as_of(
	"row" anyelement, "position" bigint DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS SETOF anyelement
AS 'MODULE_PATHNAME', 'evs_projection_as_of'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.projection_as_of(anyelement, bigint, timestamptz) IS
	'the rows of a read table as they were at a position or a time, computed from the events up to then';
