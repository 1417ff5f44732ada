-- orders without a filter, newest first: the operator's view of everything.
CREATE INDEX ASYNC IF NOT EXISTS orders_by_time ON orders (created_at, id)
