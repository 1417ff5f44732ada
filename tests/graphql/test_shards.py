"""The number of shards of a new product: chosen through the API or the command line, and 16 if it is left out."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.database.pool import Pool
from tests.command import dropzero_here
from tests.graphql.operations import CREATE
from tests.server import ADMIN_TOKEN, Server


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
def pool(shared_pool: Pool) -> Pool:
    return shared_pool


async def units_of_shards(pool: Pool, product_id: str) -> list[int]:
    rows = await pool.fetch("SELECT stock FROM stock_shards WHERE product_id = $1 ORDER BY shard", UUID(product_id))
    return [row["stock"] for row in rows]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [2, 2, 2, 2, *[1] * 12]),
        ({"shards": None}, [2, 2, 2, 2, *[1] * 12]),
        ({"shards": 1}, [20]),
        ({"shards": 3}, [7, 7, 6]),
        ({"shards": 64}, [*[1] * 20, *[0] * 44]),
    ],
)
async def test_the_stock_is_split_over_the_shards(
    server: Server, pool: Pool, wanted: dict[str, Any], expected: list[int]
) -> None:
    product_id = await server.create_product(20, **wanted)

    assert await units_of_shards(pool, product_id) == expected
    assert (await server.purchase(product_id, quantity=20))["remaining"] == 0
    assert (await server.purchase(product_id))["status"] == "SOLD_OUT"


@pytest.mark.parametrize("shards", [0, 65, -1, 2**31 - 1])
async def test_another_number_of_shards_is_refused(server: Server, shards: int) -> None:
    product = {"name": "Tee", "dropName": "Refused", "stock": 1, "shards": shards}

    refused = await server.refusal(CREATE, {"input": product}, token=ADMIN_TOKEN)

    assert refused == ("BAD_USER_INPUT", f"shards must be between 1 and 64, not {shards}")


OTHERS = [
    pytest.param({"shards": 3}, id="fewer"),
    pytest.param({"shards": 5}, id="more"),
    pytest.param({"shards": None}, id="the default"),
    pytest.param({}, id="left out"),
]


@pytest.mark.parametrize("others", OTHERS)
async def test_the_key_of_a_product_with_other_shards_is_refused_and_adds_no_units(
    server: Server, pool: Pool, others: dict[str, Any]
) -> None:
    key = str(uuid4())
    product_id = await server.create_product(shards=4, idempotencyKey=key)
    product = {"name": "Tee", "dropName": "First Light", "stock": 10, "idempotencyKey": key, **others}

    answer = await server.ask(CREATE, {"input": product}, token=ADMIN_TOKEN)

    assert await units_of_shards(pool, product_id) == [3, 3, 2, 2]
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert error["message"] == "this idempotencyKey was used to create 'Tee'; use a new key for another product"


@pytest.mark.parametrize("shards", [1, 4, 16])
async def test_the_key_of_a_product_with_the_same_shards_is_that_product(
    server: Server, pool: Pool, shards: int
) -> None:
    key = str(uuid4())
    product_id = await server.create_product(shards=shards, idempotencyKey=key)
    before = await units_of_shards(pool, product_id)

    assert await server.create_product(stock=500, shards=shards, idempotencyKey=key) == product_id
    assert await units_of_shards(pool, product_id) == before


async def test_an_operator_chooses_the_shards_on_the_command_line(server: Server, pool: Pool) -> None:
    here = {"DROPZERO_URL": server.url, "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}
    create = ["product", "create", "Tee", "--drop", "Shards", "--stock", "5"]

    chosen = await dropzero_here(*create, "--shards", "2", **here)
    left_out = await dropzero_here(*create, **here)
    refused = await dropzero_here(*create, "--shards", "65", **here)

    def created(run: Any) -> str:
        assert (run.status, run.err) == (0, "")
        [product_id] = re.findall(r"^[0-9a-f-]{36}", run.out, re.M)
        return str(product_id)

    assert await units_of_shards(pool, created(chosen)) == [3, 2]
    assert await units_of_shards(pool, created(left_out)) == [1] * 5 + [0] * 11
    assert (refused.status, refused.out) == (2, "")
    assert re.search(r"--shards.*\b64\b", refused.err, re.S), refused.err
