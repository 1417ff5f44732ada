-- products(dropName): the products of a drop that are not archived, newest first.
CREATE INDEX ASYNC IF NOT EXISTS products_of_drop_current ON products (drop_name, created_at, id)
WHERE archived_at IS NULL
