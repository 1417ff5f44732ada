-- The stock of a product in one row, written by every purchase, restock and cancellation of it, until 0015 moved it to
-- stock_shards. The file was named 0002_inventory then.
CREATE TABLE IF NOT EXISTS inventory (
    id uuid PRIMARY KEY,
    product_id uuid NOT NULL UNIQUE,
    stock integer NOT NULL CHECK (stock >= 0),
    stocked bigint NOT NULL CHECK (stocked >= stock),
    version bigint NOT NULL DEFAULT 1
)
