-- Seconds that a buyer has to pay: a purchase is a hold until then. Null: a purchase is final at once. Aurora DSQL adds
-- columns without CHECK; api/drops/limits.py has the bounds.
ALTER TABLE products ADD COLUMN IF NOT EXISTS hold_seconds integer
