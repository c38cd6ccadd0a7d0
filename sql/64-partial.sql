-- Aggregates in two halves: the state after a batch, and what is made of it.
-- Whether a query may be parallel is decided by which _partial it calls.

-- What seals stored states, so that they cannot be made up. Made when it is
-- first needed, and dumped.
CREATE TABLE evstore._seal (
	key bytea NOT NULL
);
CREATE UNIQUE INDEX ON evstore._seal ((true));
COMMENT ON TABLE evstore._seal IS
	'the key that stored states of aggregates are sealed with; for nobody but the extension';
SELECT pg_catalog.pg_extension_config_dump('evstore._seal', '');

CREATE FUNCTION evstore._partial_step(internal, regprocedure, regcollation, anyelement, VARIADIC "any")
RETURNS internal
AS 'MODULE_PATHNAME', 'evs_partial_step'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION evstore._partial_final(internal, regprocedure, regcollation, anyelement, VARIADIC "any")
RETURNS anyelement
AS 'MODULE_PATHNAME', 'evs_partial_final'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION evstore._partial_merge(internal, internal)
RETURNS internal
AS 'MODULE_PATHNAME', 'evs_partial_merge'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION evstore._partial_send(internal)
RETURNS bytea
AS 'MODULE_PATHNAME', 'evs_partial_send'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION evstore._partial_receive(bytea, internal)
RETURNS internal
AS 'MODULE_PATHNAME', 'evs_partial_receive'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

-- One for aggregates that are parallel safe, one for the others.
CREATE AGGREGATE evstore._partial(aggregate regprocedure, collation regcollation, stored anyelement, VARIADIC arguments "any") (
	SFUNC = evstore._partial_step, STYPE = internal,
	FINALFUNC = evstore._partial_final, FINALFUNC_EXTRA,
	COMBINEFUNC = evstore._partial_merge, SERIALFUNC = evstore._partial_send, DESERIALFUNC = evstore._partial_receive,
	PARALLEL = SAFE);
COMMENT ON AGGREGATE evstore._partial(regprocedure, regcollation, anyelement, VARIADIC "any") IS
	'the state of an aggregate over a batch, in the type of the third argument';
CREATE AGGREGATE evstore._partial_unsafe(aggregate regprocedure, collation regcollation, stored anyelement, VARIADIC arguments "any") (
	SFUNC = evstore._partial_step, STYPE = internal,
	FINALFUNC = evstore._partial_final, FINALFUNC_EXTRA, PARALLEL = UNSAFE);
COMMENT ON AGGREGATE evstore._partial_unsafe(regprocedure, regcollation, anyelement, VARIADIC "any") IS
	'the state of an aggregate over a batch, in the type of the third argument';

CREATE FUNCTION evstore._combine(aggregate regprocedure, collation regcollation, state anyelement, more anyelement)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'evs_combine'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION evstore._combine(regprocedure, regcollation, anyelement, anyelement) IS
	'two states of an aggregate as one';

CREATE FUNCTION evstore._final(aggregate regprocedure, collation regcollation, state "any", result anyelement)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'evs_final'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION evstore._final(regprocedure, regcollation, "any", anyelement) IS
	'the result of an aggregate from its state, in the type of the last argument';

CREATE FUNCTION evstore._bounded(value anyelement, "column" text)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'evs_bounded'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION evstore._bounded(anyelement, text) IS
	'a value that an aggregate has collected, unless it has grown too long';
