-- The units in a buyer's confirmed orders of a product with a limit per buyer. Every purchase of such a product writes
-- its buyer's row: two purchases of one buyer conflict on it, and those of two buyers never do.
CREATE TABLE IF NOT EXISTS holdings (
    product_id uuid NOT NULL,
    user_ref text NOT NULL CHECK (char_length(user_ref) BETWEEN 1 AND 200),
    units integer NOT NULL CHECK (units >= 0),
    PRIMARY KEY (product_id, user_ref)
)
