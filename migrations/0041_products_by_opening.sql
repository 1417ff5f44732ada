-- products(sort: OPENS_AT): the products that are not archived and open at a moment of their own, the soonest first.
CREATE INDEX ASYNC IF NOT EXISTS products_by_opening ON products (opens_at, id)
WHERE archived_at IS NULL AND opens_at IS NOT NULL
