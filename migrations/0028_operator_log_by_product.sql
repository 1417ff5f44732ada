-- operatorLog(productId), newest first.
CREATE INDEX ASYNC IF NOT EXISTS operator_log_by_product ON operator_log (product_id, created_at, id)
