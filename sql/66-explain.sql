-- What a batch runs, and how it is planned.

CREATE FUNCTION evstore.explain_projection(name text)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'evs_explain_projection'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.explain_projection(text) IS
	'the statement that a batch of a projection runs, and its plans, as its owner and as a worker plans it';
