-- The events, numbered from 1 without a gap by the relay. Two relays that number at the same time conflict on the
-- primary key. So a position is never filled later than a higher one: who has read up to a position has missed nothing.
CREATE TABLE IF NOT EXISTS events (
    position bigint PRIMARY KEY CHECK (position > 0),
    id uuid NOT NULL,
    type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    product_id uuid NOT NULL,
    order_id uuid,
    data text NOT NULL
)
