-- What one transaction did: `happened` is a list of `events` events in JSON, written in that transaction, which took
-- `units` from the stock of the product, or added them if negative. One row for a whole group costs a purchase next to
-- nothing. Nothing is written where no events are kept. The relay moves the rows to `events`, the oldest first.
-- `created_at` is not now(), the moment of BEGIN: a transaction can see what another one did that began later.
CREATE TABLE IF NOT EXISTS outbox (
    id uuid PRIMARY KEY,
    product_id uuid NOT NULL,
    events integer NOT NULL CHECK (events > 0),
    units integer NOT NULL,
    happened text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
