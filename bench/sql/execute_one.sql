SELECT evstore.execute('account-hot' || :n, 'deposit', :data::jsonb);
