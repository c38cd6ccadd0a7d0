-- The read tables against the ground truth: the totals that came with the data, and for single orders the file itself.
-- The result is northwind.comparison (one row a check) and northwind.difference (one row a fact that is wrong).

CREATE TABLE northwind.by_country (
    key text, orders bigint, lines bigint, revenue numeric, freight numeric, units bigint,
    shipped bigint, shipped_late bigint
);
CREATE TABLE northwind.by_region   (LIKE northwind.by_country);
CREATE TABLE northwind.by_month    (LIKE northwind.by_country);
CREATE TABLE northwind.by_customer (LIKE northwind.by_country);

\copy northwind.by_country  FROM 'northwind/truth_orders_by_country.csv'  WITH (FORMAT csv, HEADER)
\copy northwind.by_region   FROM 'northwind/truth_orders_by_region.csv'   WITH (FORMAT csv, HEADER)
\copy northwind.by_month    FROM 'northwind/truth_orders_by_month.csv'    WITH (FORMAT csv, HEADER)
\copy northwind.by_customer FROM 'northwind/truth_orders_by_customer.csv' WITH (FORMAT csv, HEADER)

-- What must be there.
CREATE VIEW northwind.expected (read_table, compared_with, key, facts) AS
    SELECT 'orders_by_region', 'orders by region', key, to_jsonb(t) - '{key, shipped, shipped_late}'::text[]
    FROM northwind.by_region t
    UNION ALL
    SELECT 'orders_by_region', 'orders by country', key, to_jsonb(t) - '{key, shipped, shipped_late}'::text[]
    FROM northwind.by_country t
    UNION ALL
    SELECT 'customer_dashboard', 'orders by customer', key, to_jsonb(t) - '{key, lines, freight, units, shipped, shipped_late}'::text[]
    FROM northwind.by_customer t
    UNION ALL
    SELECT 'customer_dashboard', 'last order in the file', data->>'customer_id', jsonb_build_object('last_order_on', max(data->>'occurred_on'))
    FROM northwind.incoming
    WHERE type = 'OrderPlaced'
    GROUP BY data->>'customer_id'
    UNION ALL
    SELECT 'order_summary', 'orders by region', key, to_jsonb(t) - '{key, lines, freight, units}'::text[]
    FROM northwind.by_region t
    UNION ALL
    SELECT 'order_summary', 'orders by month', key, to_jsonb(t) - '{key, lines, freight, units}'::text[]
    FROM northwind.by_month t
    UNION ALL
    SELECT 'order_summary', 'each order in the file', placed.order_id::text,
           jsonb_build_object('status', CASE WHEN shipped.stream IS NULL THEN 'placed' ELSE 'shipped' END,
                              'total', (placed.data->>'total')::numeric)
    FROM northwind.incoming placed
         LEFT JOIN northwind.incoming shipped ON shipped.stream = placed.stream AND shipped.type = 'OrderShipped'
    WHERE placed.type = 'OrderPlaced';

-- What is there, in the same shape.
CREATE VIEW northwind.maintained (read_table, compared_with, key, facts) AS
    WITH region AS (
        SELECT country || '/' || coalesce(region, '(none)') AS key, orders, lines, revenue, freight, units
        FROM orders_by_region
    ), summary AS (
        SELECT country || '/' || coalesce(region, '(none)') AS region_key, to_char(placed_on, 'YYYY-MM') AS month_key,
               total, status, late
        FROM order_summary
    )
    SELECT 'orders_by_region', 'orders by region', key, to_jsonb(t) - 'key'
    FROM (SELECT coalesce(key, 'TOTAL') AS key, sum(orders) AS orders, sum(lines) AS lines,
                 sum(revenue) AS revenue, sum(freight) AS freight, sum(units) AS units
          FROM region GROUP BY ROLLUP (key)) t
    UNION ALL
    SELECT 'orders_by_region', 'orders by country', key, to_jsonb(t) - 'key'
    FROM (SELECT coalesce(country, 'TOTAL') AS key, sum(orders) AS orders, sum(lines) AS lines,
                 sum(revenue) AS revenue, sum(freight) AS freight, sum(units) AS units
          FROM orders_by_region GROUP BY ROLLUP (country)) t
    UNION ALL
    SELECT 'customer_dashboard', 'orders by customer', key, to_jsonb(t) - 'key'
    FROM (SELECT coalesce(customer, 'TOTAL') AS key, sum(orders) AS orders, sum(lifetime_value) AS revenue
          FROM customer_dashboard GROUP BY ROLLUP (customer)) t
    UNION ALL
    SELECT 'customer_dashboard', 'last order in the file', customer, jsonb_build_object('last_order_on', last_order_on)
    FROM customer_dashboard
    UNION ALL
    SELECT 'order_summary', 'orders by region', key, to_jsonb(t) - 'key'
    FROM (SELECT coalesce(region_key, 'TOTAL') AS key, count(*) AS orders, sum(total) AS revenue,
                 count(*) FILTER (WHERE status = 'shipped') AS shipped, count(*) FILTER (WHERE late) AS shipped_late
          FROM summary GROUP BY ROLLUP (region_key)) t
    UNION ALL
    SELECT 'order_summary', 'orders by month', key, to_jsonb(t) - 'key'
    FROM (SELECT coalesce(month_key, 'TOTAL') AS key, count(*) AS orders, sum(total) AS revenue,
                 count(*) FILTER (WHERE status = 'shipped') AS shipped, count(*) FILTER (WHERE late) AS shipped_late
          FROM summary GROUP BY ROLLUP (month_key)) t
    UNION ALL
    SELECT 'order_summary', 'each order in the file', order_id::text, jsonb_build_object('status', status, 'total', total)
    FROM order_summary;

CREATE VIEW northwind.difference AS
    (SELECT 'missing' AS problem, * FROM (TABLE northwind.expected EXCEPT ALL TABLE northwind.maintained) e)
    UNION ALL
    (SELECT 'unexpected', * FROM (TABLE northwind.maintained EXCEPT ALL TABLE northwind.expected) m);

CREATE VIEW northwind.comparison AS
    SELECT e.read_table, e.compared_with, e.rows_compared, count(d.problem) AS rows_different
    FROM (SELECT read_table, compared_with, count(*) AS rows_compared FROM northwind.expected GROUP BY 1, 2) e
         LEFT JOIN northwind.difference d USING (read_table, compared_with)
    GROUP BY 1, 2, 3;
