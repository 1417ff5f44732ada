"""The IAM policies and the SQL statements that give servers and operators exactly the rights that they use."""

import json
from collections.abc import Sequence

from api.cluster.control_plane import Cluster, arn_part
from api.drops import rights

DATABASE_ROLE = "app"
"""The database role that servers connect as."""

GRANTS = {**rights.GRANTS, "schema_migrations": ("SELECT",)}
"""The rights that servers use on each table, that of the migrations included. They delete events, and nothing
else."""


def server_policy(clusters: Sequence[Cluster]) -> str:
    """The IAM policy of the role that servers run as: it may connect to these clusters, but not as admin."""
    return _policy("dsql:DbConnect", clusters)


def admin_policy(clusters: Sequence[Cluster]) -> str:
    """The IAM policy of the operator who migrates and creates roles: it may connect to these clusters as admin."""
    return _policy("dsql:DbConnectAdmin", clusters)


def server_role_arn(clusters: Sequence[Cluster], iam_role: str) -> str:
    """The ARN of an IAM role in the clusters' own account."""
    arn = clusters[0].arn
    return f"arn:{arn_part(arn, 'partition')}:iam::{arn_part(arn, 'account')}:role/{iam_role}"


def role_statements(iam_role_arn: str) -> list[str]:
    """The statements that admin runs once the schema exists, each in a transaction of its own."""
    return [
        f"CREATE ROLE {DATABASE_ROLE} WITH LOGIN",
        f"AWS IAM GRANT {DATABASE_ROLE} TO '{iam_role_arn}'",
        f"GRANT USAGE ON SCHEMA public TO {DATABASE_ROLE}",
        *(f"GRANT {', '.join(allowed)} ON {table} TO {DATABASE_ROLE}" for table, allowed in GRANTS.items()),
    ]


def endpoints(clusters: Sequence[Cluster], role: str) -> str:
    """The value of DROPZERO_ENDPOINTS; the first cluster is home."""
    return ",".join(f"{cluster.region}=dsql://{role}@{cluster.endpoint}" for cluster in clusters)


def next_steps(clusters: Sequence[Cluster], iam_role: str) -> str:
    """The steps from new clusters to a server, as text to copy from top to bottom."""
    home = clusters[0]
    statements = "\n".join(f"{statement};" for statement in role_statements(server_role_arn(clusters, iam_role)))
    return f"""\
1. To migrate, your IAM role needs this policy:

{admin_policy(clusters)}

2. Bring the schema up to date, through one Region:

DROPZERO_ENDPOINTS={endpoints([home], "admin")} dropzero migrate

3. The servers run as the IAM role {iam_role}, which needs this policy:

{server_policy(clusters)}

4. Create the database role that the servers connect as (psql 16 or later):

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
