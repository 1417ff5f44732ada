"""Callers, clients, and the share of the server that each client has. Imports neither GraphQL nor SQL."""
