-- What a process has answered about a product in the `seconds` before `at`, as JSON in `data`. Nothing is written for an
-- interval in which nothing happened. `stock` and `version` are the sums over the product's shards at `at`; null in a
-- row that was written later.
CREATE TABLE IF NOT EXISTS activity (
    product_id uuid NOT NULL,
    at timestamptz NOT NULL,
    process uuid NOT NULL,
    seconds double precision NOT NULL,
    stock bigint,
    version bigint,
    data text NOT NULL,
    PRIMARY KEY (product_id, at, process)
)
