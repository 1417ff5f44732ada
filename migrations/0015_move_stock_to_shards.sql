-- Spread the stock of each product over 16 shards, 100 products at a time: Aurora DSQL changes 3,000 rows in one
-- transaction at most. Repeated until every product has its shards.
INSERT INTO stock_shards (product_id, shard, stock, stocked, version)
SELECT frozen.product_id, numbers.shard,
       frozen.stock / 16 + CASE WHEN numbers.shard < frozen.stock % 16 THEN 1 ELSE 0 END,
       CASE WHEN numbers.shard = 0 THEN frozen.stocked ELSE 0 END,
       CASE WHEN numbers.shard = 0 THEN frozen.version ELSE 0 END
FROM (
    SELECT product_id, stock, stocked, version FROM inventory
    WHERE NOT EXISTS (SELECT 1 FROM stock_shards WHERE stock_shards.product_id = inventory.product_id)
    LIMIT 100
) AS frozen
CROSS JOIN unnest(ARRAY[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) AS numbers (shard)
ON CONFLICT (product_id, shard) DO NOTHING
