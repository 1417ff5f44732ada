"""The GraphQL API: the schema, its resolvers and limits, and the handlers of HTTP and websockets. No SQL.

Imports `api.drops` and `api.identity`. Of `api.database` it imports the errors and the type `Database`: resolvers pass
`drops.regions` as the database that a function of `api.drops` reads.
"""
