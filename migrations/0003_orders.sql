-- What was bought. The id of a purchase with an idempotency key is derived from product, buyer and key, so the
-- primary key alone makes the purchase unique; without a key it is random.
CREATE TABLE IF NOT EXISTS orders (
    id uuid PRIMARY KEY,
    product_id uuid NOT NULL,
    user_ref text NOT NULL CHECK (char_length(user_ref) BETWEEN 1 AND 200),
    quantity integer NOT NULL CHECK (quantity > 0),
    status text NOT NULL CHECK (status IN ('CONFIRMED', 'CANCELLED')),
    region text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
