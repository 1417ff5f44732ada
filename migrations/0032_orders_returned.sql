-- The cancelled and the lapsed orders of a product, newest first. It is partial: only a cancellation and a lapse pay for
-- an entry, and a purchase never does.
CREATE INDEX ASYNC IF NOT EXISTS orders_returned ON orders (product_id, created_at, id) WHERE status = 'CANCELLED'
