-- What operators have done: one row for each step, written in the transaction that did it. `changes` is a list of
-- [field, before, after] in JSON. The primary key is the order in which the log is read. Rows are never changed.
CREATE TABLE IF NOT EXISTS operator_log (
    created_at timestamptz NOT NULL DEFAULT now(),
    id uuid NOT NULL,
    operator text NOT NULL,
    action text NOT NULL,
    product_id uuid,
    order_id uuid,
    changes text NOT NULL,
    PRIMARY KEY (created_at, id)
)
