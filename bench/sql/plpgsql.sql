-- An event table with an append in plpgsql, as most teams write it: advisory
-- lock, max(version), INSERT. The lock is the stream's, or one for all streams:
-- with the stream's, a reader that goes by position can miss events.
CREATE TABLE home_made (
	position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	stream text COLLATE "C" NOT NULL,
	version bigint NOT NULL,
	type text COLLATE "C" NOT NULL,
	data jsonb NOT NULL,
	metadata jsonb,
	recorded_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (stream, version)
);

-- Take the lock and check the stream's version; the last version is returned.
CREATE FUNCTION home_made_lock(stream text, expected bigint, one_lock boolean) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	last bigint;
BEGIN
	PERFORM pg_advisory_xact_lock(CASE WHEN one_lock THEN 0 ELSE hashtextextended(home_made_lock.stream, 0) END);
	SELECT coalesce(max(h.version), 0) INTO last FROM home_made h WHERE h.stream = home_made_lock.stream;
	IF last <> expected THEN
		RAISE 'stream "%" is at version %, not %', home_made_lock.stream, last, expected USING ERRCODE = 'serialization_failure';
	END IF;
	RETURN last;
END $$;

-- Append one event.
CREATE FUNCTION home_made_append(stream text, type text, data jsonb, expected bigint, one_lock boolean,
	OUT version bigint, OUT "position" bigint)
LANGUAGE plpgsql AS $$
BEGIN
	version := home_made_lock(home_made_append.stream, expected, one_lock) + 1;
	INSERT INTO home_made AS h (stream, version, type, data)
		VALUES (home_made_append.stream, home_made_append.version, home_made_append.type, home_made_append.data)
		RETURNING h.position INTO home_made_append.position;
END $$;

-- Append the events of a JSON array.
CREATE FUNCTION home_made_append(stream text, events jsonb, expected bigint, one_lock boolean,
	OUT version bigint, OUT "position" bigint)
LANGUAGE plpgsql AS $$
DECLARE
	last bigint := home_made_lock(home_made_append.stream, expected, one_lock);
BEGIN
	WITH added AS (
		INSERT INTO home_made AS h (stream, version, type, data)
			SELECT home_made_append.stream, last + e.i, e.event->>'type', e.event->'data'
			FROM jsonb_array_elements(events) WITH ORDINALITY AS e (event, i)
			RETURNING h.version, h.position)
	SELECT max(a.version), max(a.position) INTO home_made_append.version, home_made_append.position FROM added a;
END $$;
