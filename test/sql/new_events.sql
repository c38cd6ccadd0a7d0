-- evstore.events: a JSON array becomes the array of events that append takes.

SELECT e.*
FROM unnest(evstore.events('[
	{"type": "OrderPlaced", "data": {"total": 10}},
	{"data": [1, 2], "type": "OrderPaid", "metadata": {"user": "ann"}, "id": "00000000-0000-0000-0000-00000000000A", "tags": ["a", "b c"]},
	{"type": "JSON null is a value", "data": null},
	{"type": "nothing else given", "data": 0, "metadata": null, "id": null, "tags": null},
	{"type": "no tags", "data": "text", "tags": []}]')) WITH ORDINALITY AS e(type, data, metadata, id, tags, schema_version, n)
ORDER BY n;
SELECT evstore.events('[]');
SELECT evstore.events(NULL) IS NULL AS null_is_null;
SELECT cardinality(evstore.events((SELECT jsonb_agg(jsonb_build_object('type', 't', 'data', n)) FROM generate_series(1, 1000) n)));

-- What is not an array of events.
SELECT evstore.events('{"type": "OrderPlaced", "data": {}}');
\echo :SQLSTATE
SELECT evstore.events('"OrderPlaced"');
\echo :SQLSTATE
SELECT evstore.events('null');
\echo :SQLSTATE
SELECT evstore.events('[1]');
\echo :SQLSTATE
SELECT evstore.events('[null]');
\echo :SQLSTATE
SELECT evstore.events('[[]]');
\echo :SQLSTATE
SELECT evstore.events('[{}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced"}]');
\echo :SQLSTATE
SELECT evstore.events('[{"data": {}}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": null, "data": {}}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": 7, "data": {}}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": {"name": "OrderPlaced"}, "data": {}}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "stream": "order-1"}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "Data": {}}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "id": "one"}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "id": 1}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "tags": "vip"}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "tags": [1]}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "tags": [null]}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "tags": [["a"]]}]');
\echo :SQLSTATE
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}, "tags": {"a": 1}}]');
\echo :SQLSTATE
-- the first event is good, the second is not
SELECT evstore.events('[{"type": "OrderPlaced", "data": {}}, {"type": "OrderPaid"}]');
\echo :SQLSTATE
