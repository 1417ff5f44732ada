-- The holdings have replaced it. Each index entry of an order costs as much as the order itself.
DROP INDEX IF EXISTS orders_by_buyer_and_product
