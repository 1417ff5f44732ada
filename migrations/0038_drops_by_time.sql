-- The list of drops, newest first.
CREATE INDEX ASYNC IF NOT EXISTS drops_by_time ON drops (created_at, id)
