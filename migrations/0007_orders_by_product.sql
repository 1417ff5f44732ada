-- orders(productId), newest first: the operator's view of one product.
CREATE INDEX ASYNC IF NOT EXISTS orders_by_product ON orders (product_id, created_at, id)
