-- products: every page of the list, newest first. Read backwards, as Aurora DSQL has no DESC keys.
CREATE INDEX ASYNC IF NOT EXISTS products_by_time ON products (created_at, id)
