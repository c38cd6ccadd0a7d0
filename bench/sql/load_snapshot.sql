SELECT evstore.load('long-' || :length);
