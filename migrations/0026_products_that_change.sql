-- What an operator can change about a product. `revision` rises with each change; null is 0. A product is paused, or
-- archived, while it has the moment at which that was done. `limit_changed_at`: once the limit per buyer has been
-- changed, every purchase writes its buyer's holding, and a buyer without one has what the buyer's orders say.
-- `changing_until`: until then no transaction of purchases begins, so that a change gets through.
ALTER TABLE products
    ADD COLUMN IF NOT EXISTS description text,
    ADD COLUMN IF NOT EXISTS closes_at timestamptz,
    ADD COLUMN IF NOT EXISTS paused_at timestamptz,
    ADD COLUMN IF NOT EXISTS archived_at timestamptz,
    ADD COLUMN IF NOT EXISTS revision bigint,
    ADD COLUMN IF NOT EXISTS limit_changed_at timestamptz,
    ADD COLUMN IF NOT EXISTS changing_until timestamptz
