-- One row per product, written by every purchase, restock and cancellation of it: the row that serialises all
-- rivals. At every snapshot: stocked = stock + sum(quantity of the product's confirmed orders).
CREATE TABLE IF NOT EXISTS inventory (
    id uuid PRIMARY KEY,
    product_id uuid NOT NULL UNIQUE,
    stock integer NOT NULL CHECK (stock >= 0),
    stocked bigint NOT NULL CHECK (stocked >= stock),
    version bigint NOT NULL DEFAULT 1
)
