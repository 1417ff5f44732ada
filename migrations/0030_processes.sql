-- The server processes, as each has described itself when it was `seen_at`. A process that ends deletes its row; the row
-- of a killed process is deleted by another one.
CREATE TABLE IF NOT EXISTS processes (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    data text NOT NULL
)
