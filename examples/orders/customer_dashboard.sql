SELECT evstore.create_projection('customer_dashboard', query => $$
    SELECT data->>'customer_id'                 AS customer,
           count(*)                             AS orders,
           sum((data->>'total')::numeric)       AS lifetime_value,
           max((data->>'occurred_on')::date)    AS last_order_on
    FROM events
    WHERE type = 'OrderPlaced'
    GROUP BY data->>'customer_id'
$$);
