"""What clients see: the GraphQL schema, its resolvers and limits, and the HTTP and websocket handlers. No SQL.

Imports `api.drops`, and of `api.database` only what its errors and Regions are called.
"""
