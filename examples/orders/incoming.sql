-- What the shops send: the file's events, one a row, in the order of their dates. The date on which something
-- happened belongs to the event, so it goes into its data; evstore itself notes when the event was appended.

CREATE SCHEMA northwind;

CREATE TABLE northwind.file (line jsonb NOT NULL);

-- CSV with a quote and a delimiter that occur in no line: each line arrives as it is, whatever it holds.
\copy northwind.file FROM 'northwind/events.ndjson' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')

CREATE VIEW northwind.incoming AS
    SELECT (line->>'seq')::int                                             AS seq,
           line->>'stream'                                                 AS stream,
           (line->>'version')::bigint                                      AS version,
           line->>'type'                                                   AS type,
           (line->'data'->>'order_id')::int                                AS order_id,
           line->'data' || jsonb_build_object('occurred_on', line->'occurred_on') AS data
    FROM northwind.file;
