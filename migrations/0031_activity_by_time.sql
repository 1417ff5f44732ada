-- Old activity of all products is found through it, to be deleted.
CREATE INDEX ASYNC IF NOT EXISTS activity_by_time ON activity (at)
