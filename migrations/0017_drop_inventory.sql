-- All of its rows are in stock_shards. A server of the version before that still runs would go on showing them.
DROP TABLE IF EXISTS inventory
