-- What is sold. No foreign keys, no sequences: integrity lives in the transactions, keys are random UUIDs.
-- Every constraint has to be here from the start: Aurora DSQL can never add NOT NULL or CHECK to a column later.
CREATE TABLE IF NOT EXISTS products (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    drop_name text NOT NULL CHECK (char_length(drop_name) BETWEEN 1 AND 200),
    opens_at timestamptz,
    limit_per_buyer integer CHECK (limit_per_buyer > 0),
    created_at timestamptz NOT NULL DEFAULT now()
)
