"""A pooler between the server and PostgreSQL: which ones work, and with which message the others are refused."""

import asyncio
from dataclasses import replace

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.pooler import StatementsLost, require_kept_statements
from api.settings import Settings
from tests.command import dropzero
from tests.pooler import pooling, version_of_pgbouncer
from tests.regions import HOME
from tests.server import serving

REFUSAL = (
    f"{HOME} is behind a pooler that loses prepared statements, as PgBouncer does with pool_mode=transaction, and "
    "dropzero keeps its own on each connection; connect to the database itself, or to a pooler in session mode, or set "
    "max_prepared_statements=200 in PgBouncer 1.21 or later"
)

KEEPS_STATEMENTS = (1, 21)
"""The first version of PgBouncer that can keep prepared statements."""

TRANSACTION: dict[str, object] = {"pool_mode": "transaction"}
if version_of_pgbouncer() >= KEEPS_STATEMENTS:
    TRANSACTION["max_prepared_statements"] = 0
STATEMENT = {**TRANSACTION, "pool_mode": "statement"}


@pytest.mark.parametrize("mode", [TRANSACTION, STATEMENT], ids=["transaction", "statement"])
async def test_a_pooler_that_loses_prepared_statements_is_refused(postgres_url: str, mode: dict[str, object]) -> None:
    async with pooling(postgres_url, **mode) as url:
        for _ in range(5):  # every time, not by chance
            with pytest.raises(StatementsLost) as refused:
                await require_kept_statements(Endpoint(HOME, url))
            assert str(refused.value) == REFUSAL


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["serve --port 0", "serve --port 0 --workers 2", "migrate", "audit"])
async def test_a_command_behind_such_a_pooler_prints_what_to_do(postgres_url: str, arguments: str) -> None:
    async with pooling(postgres_url, **TRANSACTION) as url:
        run = await dropzero(*arguments.split(), DROPZERO_ENDPOINTS=f"{HOME}={url}")
    assert (run.status, run.err) == (1, f"dropzero: {REFUSAL}\n")


async def test_a_pooler_in_session_mode_serves(settings: Settings, postgres_url: str) -> None:
    async with pooling(postgres_url, pool_mode="session") as url:
        await sells(replace(settings, endpoints=(Endpoint(HOME, url),)))


@pytest.mark.skipif(version_of_pgbouncer() < KEEPS_STATEMENTS, reason="this PgBouncer keeps no prepared statements")
async def test_a_pooler_that_keeps_prepared_statements_serves(settings: Settings, postgres_url: str) -> None:
    async with pooling(postgres_url, pool_mode="transaction", max_prepared_statements=200) as url:
        await sells(replace(settings, endpoints=(Endpoint(HOME, url),)))


async def test_postgresql_itself_keeps_prepared_statements(postgres_url: str) -> None:
    await require_kept_statements(Endpoint(HOME, postgres_url))


async def test_aurora_dsql_is_not_tested() -> None:
    cluster = f"{'a' * 26}.dsql.us-east-1.on.aws"
    await require_kept_statements(Endpoint("us-east-1", f"dsql://app@{cluster}"))


async def sells(settings: Settings) -> None:
    async with serving(settings) as server:
        product_id = await server.create_product(stock=60)
        outcomes = await asyncio.gather(*(server.purchase(product_id, f"buyer-{number}") for number in range(70)))
        assert sorted(outcome["status"] for outcome in outcomes) == ["CONFIRMED"] * 60 + ["SOLD_OUT"] * 10


@pytest.mark.parametrize("parameter", ["schema=public", "options=-c%20search_path%3Dpublic"])
async def test_a_parameter_that_a_pooler_does_not_pass_on_is_named(postgres_url: str, parameter: str) -> None:
    async with pooling(postgres_url, pool_mode="session") as url:
        with pytest.raises(
            Unavailable, match=r"unsupported startup parameter.*; a pooler such as PgBouncer does not pass"
        ):
            await require_kept_statements(Endpoint(HOME, f"{url}&{parameter}"))
