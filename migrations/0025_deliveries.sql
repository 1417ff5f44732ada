-- Events to deliver to the webhook, as ranges of positions: those that a process delivers now, with `due` as the end of
-- its lease, and those that failed, which are delivered again when they are due.
CREATE TABLE IF NOT EXISTS deliveries (
    first bigint PRIMARY KEY,
    last bigint NOT NULL CHECK (last >= first),
    attempts integer NOT NULL,
    due timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
