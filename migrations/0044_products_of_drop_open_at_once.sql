-- The products of a drop that have been open since their creation.
CREATE INDEX ASYNC IF NOT EXISTS products_of_drop_open_at_once ON products (drop_name, created_at, id)
WHERE archived_at IS NULL AND opens_at IS NULL
