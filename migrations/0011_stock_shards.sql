-- The stock of a product is the sum over its shards: rows of their own, so that purchases through different processes
-- and Regions need not write the same row. At every snapshot, by the sums of a product:
-- stocked = stock + sum(quantity of the product's confirmed orders).
-- Every restock writes shard 0, which alone has `stocked`. So restocks cannot pass its bound together.
CREATE TABLE IF NOT EXISTS stock_shards (
    product_id uuid NOT NULL,
    shard integer NOT NULL CHECK (shard >= 0),
    stock integer NOT NULL CHECK (stock >= 0),
    stocked bigint NOT NULL CHECK (stocked >= 0),
    version bigint NOT NULL,
    PRIMARY KEY (product_id, shard)
)
