-- The holds, by the moment when they run out. Only held orders have an entry: no other purchase pays for one.
CREATE INDEX ASYNC IF NOT EXISTS orders_by_hold ON orders (held_until, product_id, id) WHERE held_until IS NOT NULL
