"""Clusters of Aurora DSQL: made, looked at and deleted through AWS's own interface, for `dropzero cluster`.

Knows nothing of what is in the database but the rights that its servers need, and no other room needs it.
"""
