-- Every index entry costs a purchase as much as the order itself. Orders without a filter are read product by product,
-- through orders_by_product.
DROP INDEX IF EXISTS orders_by_time
