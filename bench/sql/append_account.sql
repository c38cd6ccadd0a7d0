\set s random(1, 10000)
SELECT evstore.append('account-' || :s::text, 'OrderPlaced', :data::jsonb);
