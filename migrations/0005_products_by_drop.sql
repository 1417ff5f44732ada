-- products(dropName): the products of one drop, newest first.
CREATE INDEX ASYNC IF NOT EXISTS products_by_drop ON products (drop_name, created_at, id)
