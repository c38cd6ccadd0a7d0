CREATE TABLE order_summary (
    order_id     int PRIMARY KEY,
    customer     text,
    country      text,
    region       text,
    placed_on    date,
    required_on  date,
    shipped_on   date,
    total        numeric,
    status       text GENERATED ALWAYS AS
                 (CASE WHEN shipped_on IS NULL THEN 'placed' ELSE 'shipped' END) STORED,
    late         boolean GENERATED ALWAYS AS (shipped_on > required_on) STORED
);

SELECT evstore.create_projection('order_summary', statement => $$
    INSERT INTO order_summary AS old
        (order_id, customer, country, region, placed_on, required_on, shipped_on, total)
    SELECT (data->>'order_id')::int,
           max(data->>'customer_id'),
           max(data->>'ship_country'),
           max(data->>'ship_region'),
           max((data->>'occurred_on')::date)    FILTER (WHERE type = 'OrderPlaced'),
           max((data->>'required_date')::date),
           max((data->>'occurred_on')::date)    FILTER (WHERE type = 'OrderShipped'),
           max((data->>'total')::numeric)
    FROM new_events
    WHERE type IN ('OrderPlaced', 'OrderShipped')
    GROUP BY (data->>'order_id')::int
    ON CONFLICT (order_id) DO UPDATE SET
        customer    = coalesce(EXCLUDED.customer,    old.customer),
        country     = coalesce(EXCLUDED.country,     old.country),
        region      = coalesce(EXCLUDED.region,      old.region),
        placed_on   = coalesce(EXCLUDED.placed_on,   old.placed_on),
        required_on = coalesce(EXCLUDED.required_on, old.required_on),
        shipped_on  = coalesce(EXCLUDED.shipped_on,  old.shipped_on),
        total       = coalesce(EXCLUDED.total,       old.total)
$$);
