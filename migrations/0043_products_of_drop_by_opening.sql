-- The products of a drop by their opening; the first entry says when the drop opens.
CREATE INDEX ASYNC IF NOT EXISTS products_of_drop_by_opening ON products (drop_name, opens_at, id)
WHERE archived_at IS NULL AND opens_at IS NOT NULL
