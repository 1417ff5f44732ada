-- The holdings of the buyers of each product with a limit, from their orders, 2,000 at a time. Repeated until every
-- buyer has one.
INSERT INTO holdings (product_id, user_ref, units)
SELECT orders.product_id, orders.user_ref, sum(orders.quantity)
FROM orders JOIN products ON products.id = orders.product_id
WHERE products.limit_per_buyer IS NOT NULL AND orders.status = 'CONFIRMED'
  AND NOT EXISTS (
      SELECT 1 FROM holdings WHERE holdings.product_id = orders.product_id AND holdings.user_ref = orders.user_ref
  )
GROUP BY orders.product_id, orders.user_ref
LIMIT 2000
ON CONFLICT (product_id, user_ref) DO NOTHING
