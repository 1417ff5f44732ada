-- The products that are not archived, newest first: a shop keeps all that it has ever sold, and shows the latest.
CREATE INDEX ASYNC IF NOT EXISTS products_current ON products (created_at, id) WHERE archived_at IS NULL
