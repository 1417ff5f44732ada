"""Clusters of Aurora DSQL: created, shown and deleted through AWS's own API, for `dropzero cluster`.

Of the database's content this room knows only the rights that servers need. No other room imports it.
"""
