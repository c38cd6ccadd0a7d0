\set s random(1, 10000)
SELECT evstore.execute('account-' || :s::text, 'deposit', :data::jsonb);
