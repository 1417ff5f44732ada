-- orders(userRef), newest first.
CREATE INDEX ASYNC IF NOT EXISTS orders_by_buyer ON orders (user_ref, created_at, id)
