-- What one transaction did, as a list of events in JSON, written in that transaction. One row for a whole group costs a
-- purchase next to nothing. Nothing is written where no events are kept. The relay moves the rows to `events`.
CREATE TABLE IF NOT EXISTS outbox (
    id uuid PRIMARY KEY,
    happened text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
