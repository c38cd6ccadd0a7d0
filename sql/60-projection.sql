-- Projections: what they are, how far they came, and how to wait for them.

CREATE SEQUENCE evstore._projection_id AS integer;
SELECT pg_catalog.pg_extension_config_dump('evstore._projection_id', '');

CREATE TABLE evstore._projection (
	id          integer PRIMARY KEY DEFAULT pg_catalog.nextval('evstore._projection_id'),
	name        text COLLATE "C" NOT NULL,
	kind        text NOT NULL CHECK (kind IN ('query', 'statement', 'handler')),
	mode        text NOT NULL CHECK (mode IN ('async', 'inline')),
	owner       regrole NOT NULL,
	event_table regclass NOT NULL,
	event_tables regclass[],	-- all of them, if they are several
	read_table  regclass,
	state_table regclass,		-- the table behind a read table that is a view
	read_tables regclass[] NOT NULL DEFAULT '{}',
	definition  text NOT NULL,
	columns     text,
	keys        text,
	on_conflict text,
	settings    text[] NOT NULL,
	batch_size  integer NOT NULL CHECK (batch_size > 0),
	ordered     boolean NOT NULL DEFAULT false,
	created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
	on_error    text NOT NULL DEFAULT 'stop' CHECK (on_error IN ('stop', 'skip', 'park')),
	retries     integer NOT NULL DEFAULT 5 CHECK (retries >= 0),
	timeout     interval,
	priority    integer NOT NULL DEFAULT 0,
	rebuilds    integer UNIQUE,
	shard_of    integer,	-- for all shards of a projection but the first: that one's id
	shard       integer NOT NULL DEFAULT 0,
	shards      integer NOT NULL DEFAULT 1 CHECK (shard >= 0 AND shard < shards),
	division    integer NOT NULL DEFAULT 0,	-- raised when a shard gets other events: by their number, or of other tables
	hashes      bigint	-- tells by which hashes the shards were told apart; NULL if they never were
);
CREATE UNIQUE INDEX ON evstore._projection (name) WHERE rebuilds IS NULL AND shard_of IS NULL;
CREATE UNIQUE INDEX ON evstore._projection (shard_of, shard) WHERE shard_of IS NOT NULL;
COMMENT ON TABLE evstore._projection IS
	'one row a projection, or a shard of it; what a query or a handler does with a batch is the view evstore._batch_<id>';
SELECT pg_catalog.pg_extension_config_dump('evstore._projection', '');

CREATE FUNCTION evstore._projection_arrives()
RETURNS trigger
AS 'MODULE_PATHNAME', 'evs_projection_arrives'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore._projection_arrives() IS
	'trigger that notices projections which a restore brings';
REVOKE EXECUTE ON FUNCTION evstore._projection_arrives() FROM PUBLIC;
CREATE TRIGGER arrives AFTER INSERT ON evstore._projection
	FOR EACH ROW EXECUTE FUNCTION evstore._projection_arrives();

-- Apart from the definition, and with room on the page, so that moving a
-- checkpoint is a small HOT update. What is dumped has no foreign keys: a
-- parallel restore fills the tables of an extension in any order.
CREATE TABLE evstore._checkpoint (
	projection integer PRIMARY KEY,
	"position" bigint NOT NULL DEFAULT 0,
	paused     boolean NOT NULL DEFAULT false,
	applied_at timestamptz,
	failures   integer NOT NULL DEFAULT 0,
	failed_at  timestamptz,
	last_error text,
	-- the event that is to blame; NULL where none is
	failed_position bigint,
	stopped    boolean NOT NULL DEFAULT false,
	-- events given up since a batch was applied
	given_up   integer NOT NULL DEFAULT 0,
	-- rows of evstore._skipped, and of evstore._parked
	skipped    integer NOT NULL DEFAULT 0,
	parked     integer NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
COMMENT ON TABLE evstore._checkpoint IS
	'how far each projection has applied, moved in the transaction that changes its read table; an inline one stands beyond every position';
SELECT pg_catalog.pg_extension_config_dump('evstore._checkpoint', '');
CREATE TRIGGER arrives AFTER INSERT ON evstore._checkpoint
	FOR EACH ROW EXECUTE FUNCTION evstore._projection_arrives();

CREATE TABLE evstore._audit (
	projection  integer PRIMARY KEY REFERENCES evstore._projection ON DELETE CASCADE,
	verified_at timestamptz NOT NULL,
	differences bigint
);
COMMENT ON TABLE evstore._audit IS
	'what the last verification of each projection in the background has found';

CREATE FUNCTION evstore._batch_from()
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_batch_from'
LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._batch_from() IS
	'the position below the batch that this session applies; NULL outside a batch';

CREATE FUNCTION evstore._batch_to()
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_batch_to'
LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._batch_to() IS
	'the last position of the batch that this session applies; NULL outside a batch';

-- The same for projections with shards, and what tells their shards apart.

CREATE FUNCTION evstore._shard_from()
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_shard_from'
LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._shard_from() IS
	'the position below the batch that this session applies to a shard; NULL outside a batch';

CREATE FUNCTION evstore._shard_to()
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_shard_to'
LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._shard_to() IS
	'the last position of the batch that this session applies to a shard; NULL outside a batch';

CREATE FUNCTION evstore._shard_number()
RETURNS integer
AS 'MODULE_PATHNAME', 'evs_shard_number'
LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._shard_number() IS
	'the shard that this session applies a batch to, from 0; NULL outside a batch';

CREATE FUNCTION evstore._shard_count()
RETURNS integer
AS 'MODULE_PATHNAME', 'evs_shard_count'
LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION evstore._shard_count() IS
	'of how many shards that is one; NULL outside a batch';

CREATE FUNCTION evstore._hash(hash bigint, key "any")
RETURNS bigint
AS 'MODULE_PATHNAME', 'evs_hash'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION evstore._hash(bigint, "any") IS
	'a hash with one more key in it, NULL included';

CREATE FUNCTION evstore._in_shard(hash bigint, shard integer, shards integer)
RETURNS boolean
AS 'MODULE_PATHNAME', 'evs_in_shard'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION evstore._in_shard(bigint, integer, integer) IS
	'whether what has this hash belongs to a shard';

CREATE FUNCTION evstore.create_projection(
	name text, query text DEFAULT NULL, statement text DEFAULT NULL,
	handler text DEFAULT NULL, handlers jsonb DEFAULT NULL,
	mode text DEFAULT 'async', read_table text DEFAULT NULL,
	event_table regclass DEFAULT NULL, batch_size integer DEFAULT NULL,
	on_error text DEFAULT 'stop', retries integer DEFAULT 5,
	timeout interval DEFAULT NULL, priority integer DEFAULT 0,
	read_tables text[] DEFAULT NULL, shards integer DEFAULT 1)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_create_projection'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.create_projection(text, text, text, text, jsonb, text, text, regclass, integer, text, integer, interval, integer, text[], integer) IS
	'declare a read table as a query over the events, a statement over the batch view, or functions called for each event, and have it kept by workers, or by whoever appends';

CREATE FUNCTION evstore._inline()
RETURNS trigger
AS 'MODULE_PATHNAME', 'evs_inline_trigger'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore._inline() IS
	'trigger that applies what a statement has added to an event table to the inline projections that follow it';

CREATE FUNCTION evstore.drop_projection(name text, keep_table boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_drop_projection'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.drop_projection(text, boolean) IS
	'forget a projection; the read table that a query projection made is dropped with it unless it is to be kept';

CREATE FUNCTION evstore.pause_projection(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_pause_projection'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.pause_projection(text) IS
	'hold a projection where it is';

CREATE FUNCTION evstore.resume_projection(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_resume_projection'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.resume_projection(text) IS
	'let a paused projection go on from where it is';

CREATE FUNCTION evstore.set_projection(
	name text, batch_size integer DEFAULT NULL, on_error text DEFAULT NULL,
	retries integer DEFAULT NULL, timeout interval DEFAULT NULL, priority integer DEFAULT NULL, mode text DEFAULT NULL,
	shards integer DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_set_projection'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION evstore.set_projection(text, integer, text, integer, interval, integer, text, integer) IS
	'change how a projection is applied; what is null stays as it is';

CREATE FUNCTION evstore.retry_projection(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'evs_retry_projection'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore.retry_projection(text) IS
	'let a projection that has failed or stopped try again now';

CREATE FUNCTION evstore.wait_for(
	projection text, "position" bigint DEFAULT NULL, timeout interval DEFAULT '30 seconds')
RETURNS boolean
AS 'MODULE_PATHNAME', 'evs_wait_for'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.wait_for(text, bigint, interval) IS
	'wait until a projection has applied a position (by default, every event appended so far); false when the time-out came first';

CREATE FUNCTION evstore.wait_for(
	projections text[], "position" bigint DEFAULT NULL, timeout interval DEFAULT '30 seconds')
RETURNS boolean
AS 'MODULE_PATHNAME', 'evs_wait_for_several'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.wait_for(text[], bigint, interval) IS
	'wait until each of several projections has applied a position; false when the time-out came first';

CREATE FUNCTION evstore.wait_for_all(
	"position" bigint DEFAULT NULL, timeout interval DEFAULT '30 seconds')
RETURNS boolean
AS 'MODULE_PATHNAME', 'evs_wait_for_all'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION evstore.wait_for_all(bigint, interval) IS
	'wait until every projection of the database has applied a position; false when the time-out came first';

CREATE FUNCTION evstore._lag_seconds(event_table regclass, "position" bigint)
RETURNS double precision
AS 'MODULE_PATHNAME', 'evs_lag_seconds'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore._lag_seconds(regclass, bigint) IS
	'age in seconds of the first event after a position; 0 if there is none';

CREATE FUNCTION evstore._projection_progress(projection integer, OUT taken boolean, OUT events_per_second double precision, OUT "position" bigint)
AS 'MODULE_PATHNAME', 'evs_projection_progress'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION evstore._projection_progress(integer) IS
	'whether the workers have taken a projection up, its present speed, and how far they know it to be';

-- First and last by position: PostgreSQL has no aggregate that can be
-- maintained for "the value in the newest event".

CREATE FUNCTION evstore._first_step(internal, anyelement, bigint)
RETURNS internal
AS 'MODULE_PATHNAME', 'evs_first_step'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION evstore._last_step(internal, anyelement, bigint)
RETURNS internal
AS 'MODULE_PATHNAME', 'evs_last_step'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION evstore._pick_final(internal, anyelement, bigint)
RETURNS anyelement
AS 'MODULE_PATHNAME', 'evs_pick_final'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE AGGREGATE evstore.first(value anyelement, "position" bigint) (
	SFUNC = evstore._first_step, STYPE = internal,
	FINALFUNC = evstore._pick_final, FINALFUNC_EXTRA, PARALLEL = SAFE);
COMMENT ON AGGREGATE evstore.first(anyelement, bigint) IS
	'the value at the lowest position, NULL included; NULL positions are passed over';
CREATE AGGREGATE evstore.last(value anyelement, "position" bigint) (
	SFUNC = evstore._last_step, STYPE = internal,
	FINALFUNC = evstore._pick_final, FINALFUNC_EXTRA, PARALLEL = SAFE);
COMMENT ON AGGREGATE evstore.last(anyelement, bigint) IS
	'the value at the highest position, NULL included; NULL positions are passed over';
