-- productsChanged: the products that were created or changed since a moment. Every server process with a subscriber reads
-- it once per second.
CREATE INDEX ASYNC IF NOT EXISTS products_by_change ON products (changed_at, id)
