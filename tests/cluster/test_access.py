"""The rights that are printed for servers: on a real PostgreSQL they are enough for a server, and no right is spare."""

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import asyncpg
import pytest

from api.cluster.access import DATABASE_ROLE, GRANTS, role_statements
from api.database.endpoint import Endpoint
from api.database.migrations import MigrationRefused, load_migrations, migrations_directory, read_schema
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops.audit import audit
from api.drops.catalogue import list_drops
from api.drops.decisions import Confirmed
from api.drops.new_product import NewProduct, create_product
from api.drops.operator_log import Action, list_log
from api.drops.order_search import list_orders
from api.drops.orders import get_order
from api.drops.product_changes import change_product, pause
from api.drops.products import list_products
from api.drops.purchase import GroupFailed, execute_group
from api.drops.requests import Purchase
from tests.drops.event_statements import send_every_statement_about_events
from tests.drops.purchases import cancel, restock
from tests.drops.recording import send_every_statement_about_activity
from tests.patience import PATIENCE, PATIENT_TIMES

SERVER_ROLE = "arn:aws:iam::123456789012:role/dropzero-server"


@dataclass(frozen=True)
class Server:
    """The test's database, as admin and as `role`, which the printed statements made. `pool` has the role's
    connection, and `owner` the admin's."""

    pool: Pool
    owner: Pool
    role: str
    admin: "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def server_role(database_url: str) -> AsyncIterator[Server]:
    """A role with a name of its own, because all databases of a PostgreSQL share roles. It is dropped at the end."""
    role = f"app_{uuid4().hex}"
    admin = await asyncpg.connect(database_url)
    try:
        for statement in role_statements(SERVER_ROLE):
            if not statement.startswith("AWS IAM"):
                await admin.execute(statement.replace(f" {DATABASE_ROLE}", f" {role}"))
        async with (
            Pool(Endpoint("here", _as_role(database_url, role)), size=1, times=PATIENT_TIMES.pool) as pool,
            Pool(Endpoint("here", database_url), size=1, times=PATIENT_TIMES.pool) as owner,
        ):
            yield Server(pool, owner, role, admin)
    finally:
        await admin.execute(f"DROP OWNED BY {role}")
        await admin.execute(f"DROP ROLE {role}")
        await admin.close()


def _as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}@{host}", query=urlencode(parse_qsl(parts.query))).geturl()


async def do_all_that_a_server_does(pool: Pool, owner: Pool) -> None:
    assert (await read_schema(pool, load_migrations(migrations_directory()))).pending == []
    product = await create_product(pool, NewProduct(uuid4(), "Tee", "First Light", 10, None, 5))
    assert (await restock(pool, product.id, 2)).stock == 12
    purchase = Purchase.checked(product_id=product.id, user_ref="ada", quantity=3, idempotency_key="a key")
    [confirmed] = (await execute_group(pool, product.id, [purchase], [1])).decisions
    assert isinstance(confirmed, Confirmed)
    assert await get_order(pool, confirmed.order.id) == confirmed.order
    await cancel(pool, confirmed.order.id, None)
    assert [product.stock for product in (await list_products(pool, 10)).items] == [12]
    assert [drop.name for drop in (await list_drops(pool, 10)).items] == ["First Light"]
    assert len((await list_orders(pool, 10)).items) == 1
    assert [line.balanced for line in await audit(pool)] == [True]
    await send_every_statement_about_events(pool, owner)
    await send_every_statement_about_activity(pool)
    await change_product(pool, product.id, pause, "olga", Action.PRODUCT_PAUSED, RetryBudget(attempts=1))
    assert len((await list_log(pool, 10)).items) == 1


async def test_the_servers_role_can_do_all_that_a_server_does(server_role: Server) -> None:
    await do_all_that_a_server_does(server_role.pool, server_role.owner)


@pytest.mark.parametrize(("table", "right"), [(table, right) for table, rights in GRANTS.items() for right in rights])
async def test_each_right_is_needed(server_role: Server, table: str, right: str) -> None:
    await server_role.admin.execute(f"REVOKE {right} ON {table} FROM {server_role.role}")
    with pytest.raises((asyncpg.InsufficientPrivilegeError, MigrationRefused, GroupFailed)) as refused:
        await do_all_that_a_server_does(server_role.pool, server_role.owner)
    if isinstance(refused.value, GroupFailed):
        assert isinstance(refused.value.error, asyncpg.InsufficientPrivilegeError)


@pytest.mark.parametrize("table", GRANTS)
async def test_there_is_no_right_beside_them(server_role: Server, table: str) -> None:
    rights = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
    held = await server_role.pool.fetch(
        "SELECT name FROM unnest($2::text[]) AS name WHERE has_table_privilege($1, name)", table, rights
    )
    assert {row["name"] for row in held} == set(GRANTS[table])


async def test_the_servers_role_cannot_make_a_table(server_role: Server) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await server_role.pool.execute("CREATE TABLE another (id uuid)")


def test_each_right_is_granted_by_one_statement_on_one_table() -> None:
    """GRANT counts as DDL, of which a transaction of Aurora DSQL has one statement."""
    statements = role_statements(SERVER_ROLE)
    assert statements[:2] == ["CREATE ROLE app WITH LOGIN", f"AWS IAM GRANT app TO '{SERVER_ROLE}'"]
    assert all(";" not in statement for statement in statements)


def test_the_command_is_read_without_boto3() -> None:
    """boto3 takes longer to import than everything else, and only calls of AWS need it."""
    program = "import sys, api.cluster.cli; print([name for name in ('boto3', 'botocore') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert run.stdout == "[]\n"
