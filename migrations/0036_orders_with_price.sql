-- The price of one unit when the order was placed, such as 48.00 EUR. Null if the product had none.
ALTER TABLE orders ADD COLUMN IF NOT EXISTS price text
