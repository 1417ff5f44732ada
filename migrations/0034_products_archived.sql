-- The archived products, newest first. Where there are none, anybody may ask for them, and would read all products.
CREATE INDEX ASYNC IF NOT EXISTS products_archived ON products (created_at, id) WHERE archived_at IS NOT NULL
