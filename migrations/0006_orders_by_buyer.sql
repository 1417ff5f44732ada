-- orders(userRef), newest first; and a buyer's held units, in every purchase of a product with a limit.
CREATE INDEX ASYNC IF NOT EXISTS orders_by_buyer ON orders (user_ref, created_at, id)
