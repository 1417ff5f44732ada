-- What was restocked. The id of a restock with an idempotency key is derived from product and key, so the primary key
-- alone makes the restock count once; without a key it is random. It is read when the answer of a COMMIT was lost.
CREATE TABLE IF NOT EXISTS restocks (
    id uuid PRIMARY KEY,
    product_id uuid NOT NULL,
    delta integer NOT NULL CHECK (delta <> 0),
    created_at timestamptz NOT NULL DEFAULT now()
)
