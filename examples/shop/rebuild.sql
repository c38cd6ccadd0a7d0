-- A bug in a projection, mended: customer_revenue forgot that money is paid back. The events are all there, so the
-- right table can be had from them. Readers see the old table until this commits; then it fills from the first event on.

BEGIN;
SELECT evstore.drop_projection('customer_revenue');
SELECT evstore.create_projection('customer_revenue', query => $$
	SELECT data->>'customer' AS customer,
		sum(CASE type WHEN 'PaymentCaptured' THEN (data->>'amount')::numeric ELSE -(data->>'amount')::numeric END) AS revenue
	FROM events
	WHERE type IN ('PaymentCaptured', 'PaymentRefunded')
	GROUP BY data->>'customer'
$$);
COMMIT;
