"""What a drop is: products, orders, the purchase, group commit, live stock. No GraphQL, no HTTP.

Imports `api.database`, and of `api.identity` the queues and quotas by which clients share a line.
"""
