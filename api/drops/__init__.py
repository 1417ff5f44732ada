"""What a drop is: products, orders, the purchase, group commit, live stock. No GraphQL, no HTTP.

Imports `api.database` and nothing above it.
"""
