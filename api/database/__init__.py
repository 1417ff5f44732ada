"""How to reach the database: endpoints, pools, transactions, migrations, the embedded PostgreSQL.

This package knows no product and no order, and imports nothing else of this project.
"""
