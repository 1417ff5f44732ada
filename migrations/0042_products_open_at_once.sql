-- The same of those that have been open since their creation.
CREATE INDEX ASYNC IF NOT EXISTS products_open_at_once ON products (created_at, id)
WHERE archived_at IS NULL AND opens_at IS NULL
