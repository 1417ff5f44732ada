-- What a shop shows of a product: descriptions by language and images, both as JSON, and the price of one unit, such as
-- 48.00 EUR. Products of one family differ in their option, such as the size. `changed_at`: when an operator created or
-- changed the product last.
ALTER TABLE products
    ADD COLUMN IF NOT EXISTS descriptions text,
    ADD COLUMN IF NOT EXISTS images text,
    ADD COLUMN IF NOT EXISTS price text,
    ADD COLUMN IF NOT EXISTS family text,
    ADD COLUMN IF NOT EXISTS option text,
    ADD COLUMN IF NOT EXISTS changed_at timestamptz
