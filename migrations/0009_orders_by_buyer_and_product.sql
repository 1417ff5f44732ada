-- A buyer's held units, in every purchase of a product with a limit, however much the buyer has bought elsewhere.
CREATE INDEX ASYNC IF NOT EXISTS orders_by_buyer_and_product ON orders (user_ref, product_id)
