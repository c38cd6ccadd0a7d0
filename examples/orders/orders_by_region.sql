SELECT evstore.create_projection('orders_by_region', query => $$
    SELECT data->>'ship_country'                         AS country,
           data->>'ship_region'                          AS region,
           count(*) FILTER (WHERE line_number = 1)       AS orders,
           count(*)                                      AS lines,
           sum((line->>'quantity')::int)                 AS units,
           sum((line->>'unit_price')::numeric
               * (line->>'quantity')::int
               * (1 - (line->>'discount')::numeric))     AS revenue,
           sum((data->>'freight')::numeric)
               FILTER (WHERE line_number = 1)            AS freight
    FROM events,
         jsonb_array_elements(data->'lines') WITH ORDINALITY AS l(line, line_number)
    WHERE type = 'OrderPlaced'
    GROUP BY data->>'ship_country', data->>'ship_region'
$$);
