"""The database: endpoints, pools, transactions, migrations, and the embedded PostgreSQL.

This package knows no product and no order, and imports nothing else of this project.
"""
