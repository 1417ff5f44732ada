-- An order can wait for its payment, and lapse. The CHECK of `status` cannot be changed on Aurora DSQL, so `status` goes
-- on to say whether the order has its units (CONFIRMED) or has given them back (CANCELLED). An order is HELD while it
-- has `held_until`, and LAPSED once it has `lapsed_at`. `confirmed_at` and `payment_ref` come with the payment; on a
-- LAPSED order, `payment_ref` is the payment that came too late.
ALTER TABLE orders
    ADD COLUMN IF NOT EXISTS held_until timestamptz,
    ADD COLUMN IF NOT EXISTS confirmed_at timestamptz,
    ADD COLUMN IF NOT EXISTS payment_ref text,
    ADD COLUMN IF NOT EXISTS lapsed_at timestamptz
