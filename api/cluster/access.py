"""Who may do what: the IAM policies and the SQL that give the servers, and those who migrate, just what they use."""

import json
from collections.abc import Sequence

from api.cluster.control_plane import Cluster, arn_part
from api.drops import rights

DATABASE_ROLE = "app"
"""The role that servers connect as."""

GRANTS = {**rights.GRANTS, "schema_migrations": ("SELECT",)}
"""What the servers do with each table, the record of their migrations too: nothing is ever deleted."""


def server_policy(clusters: Sequence[Cluster]) -> str:
    """The IAM policy of the role that the servers run as: to connect to just these, and not as admin."""
    return _policy("dsql:DbConnect", clusters)


def admin_policy(clusters: Sequence[Cluster]) -> str:
    """The IAM policy of whoever migrates and makes roles: to connect to just these as admin."""
    return _policy("dsql:DbConnectAdmin", clusters)


def server_role_arn(clusters: Sequence[Cluster], iam_role: str) -> str:
    """The ARN of an IAM role in the clusters' own account."""
    arn = clusters[0].arn
    return f"arn:{arn_part(arn, 'partition')}:iam::{arn_part(arn, 'account')}:role/{iam_role}"


def role_statements(iam_role_arn: str) -> list[str]:
    """What admin runs once the schema is there: statement by statement, each a transaction of its own."""
    return [
        f"CREATE ROLE {DATABASE_ROLE} WITH LOGIN",
        f"AWS IAM GRANT {DATABASE_ROLE} TO '{iam_role_arn}'",
        f"GRANT USAGE ON SCHEMA public TO {DATABASE_ROLE}",
        *(f"GRANT {', '.join(allowed)} ON {table} TO {DATABASE_ROLE}" for table, allowed in GRANTS.items()),
    ]


def endpoints(clusters: Sequence[Cluster], role: str) -> str:
    """The value of DROPZERO_ENDPOINTS; the first is home."""
    return ",".join(f"{cluster.region}=dsql://{role}@{cluster.endpoint}" for cluster in clusters)


def next_steps(clusters: Sequence[Cluster], iam_role: str) -> str:
    """From new clusters to a server, to be read from top to bottom and copied."""
    home = clusters[0]
    statements = "\n".join(f"{statement};" for statement in role_statements(server_role_arn(clusters, iam_role)))
    return f"""\
1. Whoever migrates needs this IAM policy:

{admin_policy(clusters)}

2. Bring the schema up to date, through one Region:

DROPZERO_ENDPOINTS={endpoints([home], "admin")} dropzero migrate

3. The servers run as the IAM role {iam_role}, which needs this policy:

{server_policy(clusters)}

4. Make the database role that they connect as (psql 16 or later):

PGPASSWORD="$(aws dsql generate-db-connect-admin-auth-token --region {home.region} --hostname {home.endpoint})" \\
psql "host={home.endpoint} dbname=postgres user=admin sslmode=verify-full sslrootcert=system" \\
  --set ON_ERROR_STOP=1 <<'SQL'
{statements}
SQL

5. Serve, as that IAM role:

DROPZERO_ENDPOINTS={endpoints(clusters, DATABASE_ROLE)} dropzero serve"""


def _policy(action: str, clusters: Sequence[Cluster]) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": [cluster.arn for cluster in clusters]}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)
