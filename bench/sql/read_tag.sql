\set c random(0, 999)
SELECT count(*) FROM evstore.read_by(('{"items": [{"tags": ["customer:' || :c::text || '"]}]}')::jsonb);
