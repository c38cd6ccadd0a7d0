-- Event types: what data must be, and which version an append means.

CREATE SCHEMA regress_event_type;
SET search_path = regress_event_type;
SELECT evstore.create_event_table();

-- A function that is true of valid data.
CREATE FUNCTION is_payment(data jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
	AS $$SELECT (data->>'amount')::numeric > 0$$;
SELECT evstore.create_event_type('Paid', "check" => 'is_payment');
SELECT version FROM evstore.append('pay-1', 'Paid', '{"amount": 5}');
SELECT version FROM evstore.append('pay-1', 'Paid', '{"amount": 0}');
\echo :SQLSTATE
-- Null is not true.
SELECT version FROM evstore.append('pay-1', 'Paid', '{"sum": 5}');
\echo :SQLSTATE
-- An error of its own stays what it is.
SELECT version FROM evstore.append('pay-1', 'Paid', '{"amount": "much"}');
\echo :SQLSTATE
-- On every way into the table; nothing of a call is stored if one event is refused.
SELECT version FROM evstore.append('pay-1', evstore.events('[{"type": "Paid", "data": {"amount": 1}}, {"type": "Paid", "data": {"amount": -1}}]'));
SELECT * FROM evstore.append_streams(ARRAY[('pay-2', evstore.events('[{"type": "Paid", "data": {"amount": -1}}]'), 0)]::evstore.stream_append[]);
SELECT * FROM evstore.append_if(evstore.events('[{"type": "Paid", "data": {"amount": -1}}]'), '{"items": [{"tags": ["x"]}]}');
INSERT INTO events (stream, type, data) VALUES ('pay-1', 'Paid', '{"amount": -1}');
COPY events (stream, type, data) FROM STDIN;
pay-1	Paid	{"amount": 1}
pay-1	Paid	{"amount": -1}
\.
COPY events (stream, type, data) FROM STDIN WHERE stream <> 'none';
pay-1	Paid	{"amount": -1}
\.
SELECT count(*) FROM events;
-- A conflict comes before, and so does a retry of what was stored when it was valid.
SELECT version FROM evstore.append('pay-1', 'Paid', '{"amount": -1}', expected_version => 0);
\echo :SQLSTATE
SELECT version FROM evstore.append('pay-3', 'Paid', '{"amount": 5}', id => '00000000-0000-0000-0000-000000000001');
SELECT evstore.drop_event_type('Paid');
CREATE FUNCTION is_large_payment(data jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
	AS $$SELECT (data->>'amount')::numeric > 1000$$;
SELECT evstore.create_event_type('Paid', 1, 'is_large_payment(jsonb)');
SELECT version FROM evstore.append('pay-3', 'Paid', '{"amount": 5}', id => '00000000-0000-0000-0000-000000000001');
SELECT version FROM evstore.append('pay-3', 'Paid', '{"amount": 5}', id => '00000000-0000-0000-0000-000000000002');
\echo :SQLSTATE
-- What is restored is not asked.
INSERT INTO events (position, version, recorded_at, schema_version, stream, type, data)
SELECT max(position) + 100, 1, now(), 1, 'pay-4', 'Paid', '{"amount": 1}' FROM events;

-- A function that says what is wrong.
CREATE FUNCTION wrong_with_parcel(data jsonb) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
	wrong text[] = '{}';
BEGIN
	IF data->'weight' IS NULL THEN wrong := array_append(wrong, '$.weight is missing'); END IF;
	IF data->'to' IS NULL THEN wrong := array_append(wrong, '$.to is missing'); END IF;
	RETURN wrong;
END $$;
SELECT evstore.create_event_type('ParcelSent', 1, 'wrong_with_parcel');
SELECT version FROM evstore.append('parcel-1', 'ParcelSent', '{"weight": 1, "to": "x"}');
SELECT version FROM evstore.append('parcel-1', 'ParcelSent', '{"weight": 1}');
SELECT version FROM evstore.append('parcel-1', 'ParcelSent', '{}');
\echo :SQLSTATE

-- A composite type: paths say where data do not fit.
CREATE DOMAIN money_amount AS numeric NOT NULL CHECK (VALUE >= 0);
CREATE DOMAIN tag AS text CHECK (VALUE ~ '^[a-z]+$');
CREATE DOMAIN object AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
CREATE TYPE size AS ENUM ('small', 'large');
CREATE TYPE order_line AS (sku text, price money_amount, size size, sizes integer[]);
CREATE TYPE order_placed AS (customer varchar(5), total money_amount, lines order_line[], placed_on date, extra jsonb, tags tag[], paid boolean, meta object);
SELECT evstore.create_event_type('OrderPlaced', "check" => 'order_placed');
CREATE FUNCTION place(data jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
BEGIN
	PERFORM evstore.append('order-1', 'OrderPlaced', data);
	RETURN 'fits';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END $$;
SELECT data, place(data) FROM unnest(ARRAY[
	'{"total": 1}', '{"total": "1.50"}', '{"total": 0, "customer": null, "lines": null}',
	'{"total": 1, "lines": [], "extra": [1, {"a": 2}], "tags": ["a", null], "paid": true, "meta": {}, "placed_on": "2026-01-31"}',
	'{"total": 1, "lines": [{"price": 2, "size": "small", "sizes": [1, 2, null]}, {"price": 2}]}',
	'{"total": 1, "paid": "yes", "customer": "12345"}',
	'{}', '{"total": null}', '{"total": -1}', '{"total": "x"}', '{"total": {}}', '{"total": []}', '{"total": true}',
	'{"total": 1, "customer": "123456"}', '{"total": 1, "Customer": "a"}', '{"total": 1, "placed_on": "31.31.2026"}',
	'{"total": 1, "lines": {}}', '{"total": 1, "lines": [1]}', '{"total": 1, "lines": [{"price": 2}, {"price": "x"}]}',
	'{"total": 1, "lines": [{"price": 2}, null, {}]}', '{"total": 1, "lines": [{"price": 2, "colour": "red"}]}',
	'{"total": 1, "lines": [{"price": 2, "size": "medium"}]}', '{"total": 1, "lines": [{"price": 2, "sizes": [1, "x"]}]}',
	'{"total": 1, "tags": ["a", "B"]}', '{"total": 1, "paid": "maybe"}', '{"total": 1, "meta": []}',
	'[]', '1', 'null', '"{}"']::jsonb[]) data;

-- A JSON Schema, by a function of the schema and the data.
CREATE FUNCTION has_required(schema jsonb, data json) RETURNS boolean LANGUAGE sql IMMUTABLE
	AS $$SELECT data::jsonb ?& ARRAY(SELECT jsonb_array_elements_text(schema->'required'))$$;
SELECT evstore.create_event_type('Shipped', "check" => 'has_required', json_schema => '{"required": ["carrier"]}');
SELECT version FROM evstore.append('order-1', 'Shipped', '{"carrier": "DHL"}');
SELECT version FROM evstore.append('order-1', 'Shipped', '{"carriage": "DHL"}');
\echo :SQLSTATE
-- No extension is here that offers one.
SELECT evstore.create_event_type('Returned', json_schema => '{"required": ["reason"]}');
\echo :SQLSTATE
-- One that did would be found.
CREATE FUNCTION jsonb_matches_schema(schema json, instance jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
	AS $$SELECT instance ?& ARRAY(SELECT json_array_elements_text(schema->'required'))$$;
ALTER EXTENSION plpgsql ADD FUNCTION jsonb_matches_schema(json, jsonb);
SELECT evstore.create_event_type('Returned', json_schema => '{"required": ["reason"]}');
SELECT version FROM evstore.append('order-1', 'Returned', '{"why": "late"}');
SELECT version FROM evstore.append('order-1', 'Returned', '{"reason": "late"}');

-- No check at all: the type is known, and that is all.
SELECT evstore.create_event_type('Noted');
SELECT version FROM evstore.append('order-1', 'Noted', '"anything"');

-- Versions: the highest one declared is what an append means that does not say.
CREATE FUNCTION same(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS 'SELECT data';
SELECT evstore.create_event_type('Noted', 2);
\echo :SQLSTATE
SELECT evstore.create_upcaster('Noted', 1, 'same');
SELECT version FROM evstore.append('note-1', 'Noted', '1');
SELECT version FROM evstore.append('note-1', 'Noted', '2', schema_version => 2);
SELECT evstore.create_event_type('Noted', 2);
SELECT version FROM evstore.append('note-1', 'Noted', '3');
SELECT version FROM evstore.append('note-1', 'Noted', '4', schema_version => 1);
SELECT version FROM evstore.append('note-1', evstore.events('[{"type": "Noted", "data": 5}, {"type": "Noted", "data": 6, "schema_version": 1}]'));
SELECT version FROM evstore.append('note-1', ARRAY[evstore.new_event('Noted', '7', schema_version => 1), evstore.new_event('Noted', '8', tags => '{t}')]);
INSERT INTO events (stream, type, data, schema_version) VALUES ('note-1', 'Noted', '9', 1), ('note-1', 'Noted', '10', NULL);
COPY events (stream, type, data, schema_version) FROM STDIN;
note-1	Noted	11	1
note-1	Noted	12	\N
\.
SELECT data, schema_version FROM events WHERE stream = 'note-1' ORDER BY version;
SELECT version FROM evstore.append('note-1', 'Noted', '0', schema_version => 3);
\echo :SQLSTATE
SELECT version FROM evstore.append('note-1', 'Noted', '0', schema_version => 0);
\echo :SQLSTATE
SELECT evstore.events('[{"type": "Noted", "data": 5, "schema_version": "2"}]');
SELECT evstore.events('[{"type": "Noted", "data": 5, "schema_version": 1.5}]');
SELECT schema_version FROM unnest(evstore.events('[{"type": "Noted", "data": 5, "schema_version": 2.0}]'));
INSERT INTO events (stream, type, data, schema_version) VALUES ('note-1', 'Noted', '0', 3);
INSERT INTO events (stream, type, data, schema_version) VALUES ('note-1', 'Noted', '0', -1);
-- Of a type of which nothing is declared, the application counts for itself.
SELECT version FROM evstore.append('own-1', 'Own', '0', schema_version => 17);
SELECT schema_version FROM events WHERE stream = 'own-1';
SELECT evstore.drop_event_type('Noted', 2);
SELECT version FROM evstore.append('note-1', 'Noted', '13');
SELECT schema_version FROM events WHERE data = '13';

-- What is declared follows renames, and is shown by its present name.
ALTER FUNCTION is_large_payment(jsonb) RENAME TO is_huge;
ALTER TYPE order_placed RENAME TO placed;
SELECT event_table, type, schema_version, is_current, "check", json_schema FROM evstore.event_types ORDER BY type, schema_version;
\set VERBOSITY terse
DROP FUNCTION is_huge(jsonb);
DROP TYPE placed;
\set VERBOSITY default
-- By force it can be had; then it is missing.
BEGIN;
SET LOCAL client_min_messages = warning;
DROP FUNCTION is_huge(jsonb) CASCADE;
SELECT version FROM evstore.append('pay-9', 'Paid', '{"amount": 5000}');
ROLLBACK;
SELECT version FROM evstore.append('pay-9', 'Paid', '{"amount": 5000}');
-- A replaced function counts from then on.
CREATE OR REPLACE FUNCTION is_huge(data jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
SELECT version FROM evstore.append('pay-9', 'Paid', '{"amount": 5000}');

-- What cannot be declared.
CREATE FUNCTION volatile_check(data jsonb) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION number_check(data jsonb) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION text_check(data text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE FUNCTION set_check(data jsonb) RETURNS SETOF boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE AGGREGATE sum_check(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb);
CREATE TABLE plain (x integer);
SELECT evstore.create_event_type('X', 1, 'volatile_check');
\echo :SQLSTATE
SELECT evstore.create_event_type('X', 1, 'number_check');
SELECT evstore.create_event_type('X', 1, 'text_check(text)');
SELECT evstore.create_event_type('X', 1, 'set_check');
SELECT evstore.create_event_type('X', 1, 'sum_check(jsonb)');
SELECT evstore.create_event_type('X', 1, 'no_such_thing');
\echo :SQLSTATE
SELECT evstore.create_event_type('X', 1, 'integer');
\echo :SQLSTATE
SELECT evstore.create_event_type('X', 1, 'money_amount');
SELECT evstore.create_event_type('X', 1, 'same', '{}');
SELECT evstore.create_event_type('X', 1, '');
SELECT evstore.create_event_type('X', 0);
SELECT evstore.create_event_type(NULL);
SELECT evstore.create_event_type('');
SELECT evstore.create_event_type('X', 2);
SELECT evstore.create_event_type('Paid');
\echo :SQLSTATE
SELECT evstore.create_event_type('X', event_table => 'plain');
SELECT evstore.drop_event_type('X');
\echo :SQLSTATE
SELECT evstore.drop_event_type('Paid', 2);
-- A table's row type will do.
SELECT evstore.create_event_type('X', 1, 'plain');
SELECT version FROM evstore.append('x-1', 'X', '{"x": 1}');
SELECT version FROM evstore.append('x-1', 'X', '{"x": 1, "y": 2}');

-- A check looks, and appends nothing: not even by what it calls, nor to another stream, in whatever way.
CREATE FUNCTION is_noted(data jsonb) RETURNS boolean LANGUAGE plpgsql STABLE AS
$$ BEGIN PERFORM evstore.append(data->>'in', 'Memo', data); RETURN true; END $$;
CREATE FUNCTION insert_note(data jsonb) RETURNS boolean LANGUAGE sql VOLATILE AS
$$ INSERT INTO regress_event_type.events (stream, type, data) VALUES (data->>'in', 'Memo', data); SELECT true $$;
CREATE FUNCTION is_inserted(data jsonb) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN insert_note(data); END $$;
SELECT evstore.create_event_type('Appending', "check" => 'is_noted');
SELECT evstore.create_event_type('Inserting', "check" => 'is_inserted');
\set SHOW_CONTEXT never
SELECT version FROM evstore.append('memo-1', 'Appending', '{"in": "memo-1"}');
\echo :SQLSTATE
SELECT version FROM evstore.append('memo-1', 'Inserting', '{"in": "memo-2"}', expected_version => 0);
\echo :SQLSTATE
INSERT INTO events (stream, type, data) VALUES ('memo-1', 'Appending', '{"in": "memo-1"}');
\echo :SQLSTATE
COPY events (stream, type, data) FROM STDIN;
memo-1	Inserting	{"in": "memo-1"}
\.
\echo :SQLSTATE
\set SHOW_CONTEXT errors
-- That is over with the check.
SELECT version FROM evstore.append('memo-1', 'Memo', '{}');
SELECT evstore.drop_event_type('Appending'), evstore.drop_event_type('Inserting');

-- Rolled back, it was never there.
BEGIN;
SELECT evstore.drop_event_type('X');
SELECT version FROM evstore.append('x-1', 'X', '{"y": 2}');
ROLLBACK;
SELECT version FROM evstore.append('x-1', 'X', '{"y": 2}');
BEGIN;
SELECT evstore.create_event_type('Y', 1, 'plain');
SAVEPOINT s;
SELECT version FROM evstore.append('x-1', 'Y', '{"y": 2}');
ROLLBACK TO s;
SELECT version FROM evstore.append('x-1', 'Y', '{"x": 2}');
ROLLBACK;
SELECT version FROM evstore.append('x-1', 'Y', '{"y": 2}');

-- The check is its owner's code, whoever appends: a writer needs no right on it, nor on what it reads.
CREATE ROLE regress_event_type_owner;
CREATE ROLE regress_event_type_writer;
GRANT USAGE, CREATE ON SCHEMA regress_event_type TO regress_event_type_owner;
GRANT USAGE ON SCHEMA regress_event_type TO regress_event_type_writer;
SET ROLE regress_event_type_owner;
SELECT evstore.create_event_table('owned');
CREATE TABLE countries (code text PRIMARY KEY);
INSERT INTO countries VALUES ('de'), ('fr');
CREATE FUNCTION to_known_country(data jsonb) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN current_user = 'regress_event_type_owner' AND EXISTS (SELECT FROM countries WHERE code = data->>'to');
END $$;
REVOKE EXECUTE ON FUNCTION to_known_country(jsonb) FROM PUBLIC;
SELECT evstore.create_event_type('Sent', 1, 'to_known_country', event_table => 'owned');
GRANT INSERT ON owned TO regress_event_type_writer;
SET ROLE regress_event_type_writer;
SET search_path = pg_catalog;
SELECT version FROM evstore.append('a-1', 'Sent', '{"to": "de"}', event_table => 'regress_event_type.owned');
SELECT version FROM evstore.append('a-1', 'Sent', '{"to": "xx"}', event_table => 'regress_event_type.owned');
SELECT current_user;
SELECT evstore.create_event_type('Other', event_table => 'regress_event_type.owned');
SELECT evstore.drop_event_type('Sent', event_table => 'regress_event_type.owned');
RESET ROLE;
SET search_path = regress_event_type;
-- An owner who may not call it any more.
ALTER FUNCTION to_known_country(jsonb) OWNER TO CURRENT_USER;
REVOKE EXECUTE ON FUNCTION to_known_country(jsonb) FROM regress_event_type_owner;
SELECT version FROM evstore.append('a-1', 'Sent', '{"to": "de"}', event_table => 'owned');
\echo :SQLSTATE

SET client_min_messages = warning;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table('owned');
SELECT evstore.drop_event_type('Sent', event_table => 'owned');
SELECT evstore.drop_event_type(type, schema_version) FROM evstore.event_types WHERE event_table = 'events'::regclass;
SELECT evstore.drop_upcaster('Noted', 1);
ALTER EXTENSION plpgsql DROP FUNCTION jsonb_matches_schema(json, jsonb);
RESET search_path;
DROP SCHEMA regress_event_type CASCADE;
DROP ROLE regress_event_type_owner, regress_event_type_writer;
SELECT count(*) FROM evstore.event_types;
SELECT relname FROM pg_class WHERE relnamespace = 'evstore'::regnamespace AND relname ~ '^_(check|upcast|upcaster)_[0-9]';
