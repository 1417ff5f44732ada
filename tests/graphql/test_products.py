"""Products through the API: stable pages, filters, the operator's changes, and the cost of reading."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from api.database.pool import Pool
from api.settings import Settings
from tests.plans import Statement
from tests.server import ADMIN_TOKEN, Server, serving

PAGE = """
query ($first: Int, $after: String, $last: Int, $before: String, $dropName: String) {
  products(first: $first, after: $after, last: $last, before: $before, dropName: $dropName) {
    edges { cursor node { id name dropName stock soldOut opensAt limitPerBuyer createdAt } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
CREATE = """
mutation ($input: CreateProductInput!) {
  createProduct(input: $input) { id name dropName stock soldOut opensAt limitPerBuyer createdAt }
}
"""
RESTOCK = "mutation ($input: RestockInput!) { restock(input: $input) { id stock soldOut } }"

INSERT = """
WITH added AS (
    INSERT INTO products (id, name, drop_name, created_at)
    SELECT gen_random_uuid(), 'Tee ' || n, '{drop}' || n % {drops}, now() - n / 3 * interval '1 minute'
    FROM generate_series(1, {count}) AS n RETURNING id
)
INSERT INTO stock_shards (product_id, shard, stock, stocked, version) SELECT id, 0, 5, 5, 1 FROM added
"""


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
def pool(shared_pool: Pool) -> Pool:
    return shared_pool


@pytest.fixture
def drop() -> str:
    """The name of a drop that no other test knows."""
    return f"Drop {uuid4()} "


async def fill(pool: Pool, drop: str, count: int, drops: int = 1) -> None:
    """Insert that many products, three for each minute, in the drops `drop` followed by 0, by 1, and so on."""
    await pool.execute(INSERT.format(drop=drop, count=count, drops=drops))


async def page(server: Server, **variables: Any) -> dict[str, Any]:
    """One page, whose pageInfo agrees with its edges."""
    products: dict[str, Any] = (await server.data(PAGE, variables))["products"]
    cursors = [edge["cursor"] for edge in products["edges"]]
    info = products["pageInfo"]
    assert (info["startCursor"], info["endCursor"]) == ((cursors[0], cursors[-1]) if cursors else (None, None))
    assert [node["id"] for node in products["nodes"]] == [edge["node"]["id"] for edge in products["edges"]]
    if "before" not in variables and "last" not in variables:
        assert info["hasPreviousPage"] == ("after" in variables)
    return products


def names(products: dict[str, Any]) -> list[str]:
    return [edge["node"]["name"] for edge in products["edges"]]


async def test_every_product_is_on_one_page_while_others_are_created(settings: Settings) -> None:
    async with serving(settings) as server, Pool(settings.endpoints[0], size=1) as pool:
        assert (await page(server))["edges"] == []
        await fill(pool, "Drop ", 23)
        expected = [row["id"] for row in await pool.fetch("SELECT id FROM products ORDER BY created_at DESC, id DESC")]

        products = await page(server, first=5)
        seen, sizes = list(products["edges"]), [5]
        while products["pageInfo"]["hasNextPage"]:
            await server.create_product()
            products = await page(server, first=5, after=products["pageInfo"]["endCursor"])
            seen += products["edges"]
            sizes.append(len(products["edges"]))

        assert [edge["node"]["id"] for edge in seen] == [str(product_id) for product_id in expected]
        assert sizes == [5, 5, 5, 5, 3]
        newest = await page(server, first=5)
        assert names(newest)[:4] == ["Tee"] * 4, "the new products are at the top of a fresh list"


async def test_the_last_page_has_no_next_page(server: Server, pool: Pool, drop: str) -> None:
    await fill(pool, drop, 10)
    first = await page(server, first=5, dropName=f"{drop}0")
    assert first["pageInfo"]["hasNextPage"]
    second = await page(server, first=5, dropName=f"{drop}0", after=first["pageInfo"]["endCursor"])
    assert len(second["edges"]) == 5
    assert not second["pageInfo"]["hasNextPage"]
    beyond = await page(server, first=5, dropName=f"{drop}0", after=second["pageInfo"]["endCursor"])
    assert (beyond["edges"], beyond["pageInfo"]["hasNextPage"]) == ([], False)


async def test_a_page_has_twenty_products_by_default_and_at_most_a_hundred(
    server: Server, pool: Pool, drop: str
) -> None:
    await fill(pool, drop, 101)
    assert len((await page(server))["edges"]) == 20
    assert len((await page(server, first=None))["edges"]) == 20
    assert len((await page(server, first=1))["edges"]) == 1
    most = await page(server, first=100)
    assert len(most["edges"]) == 100
    assert most["pageInfo"]["hasNextPage"]


async def test_pages_are_read_backward_too(server: Server, pool: Pool, drop: str) -> None:
    await fill(pool, drop, 12)
    of_drop = {"dropName": f"{drop}0"}
    every = names(await page(server, first=12, **of_drop))

    found = await page(server, last=5, **of_drop)
    seen = names(found)
    assert (found["pageInfo"]["hasPreviousPage"], found["pageInfo"]["hasNextPage"]) == (True, False)
    while found["pageInfo"]["hasPreviousPage"]:
        found = await page(server, last=5, before=found["pageInfo"]["startCursor"], **of_drop)
        assert found["pageInfo"]["hasNextPage"]
        seen = names(found) + seen
    assert seen == every

    middle = await page(server, first=3, after=found["pageInfo"]["endCursor"], **of_drop)
    assert names(await page(server, before=middle["pageInfo"]["startCursor"], **of_drop)) == every[:2]
    between = await page(
        server, first=9, after=middle["edges"][0]["cursor"], before=middle["edges"][2]["cursor"], **of_drop
    )
    assert names(between) == names(middle)[1:2]
    assert between["pageInfo"]["hasNextPage"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: 2, last: 2", "first and last cannot be combined: send first with after to go on in the list"),
        ("last: 0", "last must be between 1 and 100, not 0"),
        ("last: 101", "last must be between 1 and 100, not 101"),
        ("first: -1", "first must be between 1 and 100, not -1"),
        ('last: 2, before: "x"', "before is not a cursor of products; pass the startCursor of a later page"),
    ],
)
async def test_a_page_that_cannot_be_is_refused_with_what_to_send(server: Server, arguments: str, message: str) -> None:
    for field in ("products", "orders"):
        user = ', userRef: "ada"' if field == "orders" else ""
        code, text = await server.refusal(f"{{ {field}({arguments}{user}) {{ nodes {{ id }} }} }}")
        assert code == "BAD_USER_INPUT"
        assert text.startswith(message.replace("products", field))


async def test_the_products_of_a_list_are_counted_up_to_a_bound_and_only_on_demand(
    server: Server, pool: Pool, drop: str, statements: list[Statement]
) -> None:
    await fill(pool, drop, 1_100, drops=1)
    await fill(pool, f"{drop} few ", 3)
    count = "query ($drop: String) {{ products(first: 1, dropName: $drop) {{ {} }} }}"
    statements.clear()

    for name, total in ((f"{drop}0", 1_000), (f"{drop} few 0", 3), ("no such drop", 0), (None, 1_000)):
        found = await server.data(count.format("totalCount"), {"drop": name})
        assert found == {"products": {"totalCount": total}}
    assert len(statements) == 2 * 4
    statements.clear()
    await server.data(count.format("nodes { id }"), {"drop": f"{drop}0"})
    assert len(statements) == 1


async def test_a_drop_name_filters_the_products(server: Server, pool: Pool, drop: str) -> None:
    await fill(pool, drop, 120, drops=50)
    first = await page(server, first=2, dropName=f"{drop}7")
    assert names(first) == ["Tee 7", "Tee 57"]
    second = await page(server, first=2, dropName=f"{drop}7", after=first["pageInfo"]["endCursor"])
    assert names(second) == ["Tee 107"]
    assert not second["pageInfo"]["hasNextPage"]
    for unknown in (f"{drop}77", f"{drop}7".lower(), f"{drop}7."):
        nothing = await page(server, dropName=unknown)
        assert (nothing["edges"], nothing["pageInfo"]["hasNextPage"]) == ([], False)


async def test_an_operator_creates_a_product(server: Server, drop: str) -> None:
    before = datetime.now(UTC)
    product = {
        "name": "Aurora <Tee> 🎉",
        "dropName": f"{drop}'; --",
        "stock": 0,
        "opensAt": "2030-12-01T10:00:00+09:00",
        "limitPerBuyer": 2,
    }
    created = (await server.data(CREATE, {"input": product}, token=ADMIN_TOKEN))["createProduct"]

    assert datetime.fromisoformat(created["createdAt"]) >= before.replace(microsecond=0)
    assert datetime.fromisoformat(created["opensAt"]) == datetime(2030, 12, 1, 1, tzinfo=UTC)
    assert {**created, "id": 0, "createdAt": 0, "opensAt": 0} == {
        **product,
        "id": 0,
        "createdAt": 0,
        "opensAt": 0,
        "soldOut": True,
    }
    assert [edge["node"] for edge in (await page(server, dropName=product["dropName"]))["edges"]] == [created]
    query = "query ($id: ID!) { product(id: $id) { name } }"
    assert await server.data(query, {"id": created["id"]}) == {"product": {"name": product["name"]}}


async def test_omitted_fields_of_a_product_are_null(server: Server) -> None:
    product_id = await server.create_product(2**31 - 1)
    [edge] = (await page(server, first=1))["edges"]
    assert (edge["node"]["id"], edge["node"]["stock"]) == (product_id, 2**31 - 1)
    assert (edge["node"]["opensAt"], edge["node"]["limitPerBuyer"], edge["node"]["soldOut"]) == (None, None, False)


async def test_an_operator_adds_units_and_removes_unsold_ones(server: Server) -> None:
    product_id = await server.create_product(0)

    async def restock(delta: int) -> dict[str, Any]:
        answer = await server.data(RESTOCK, {"input": {"productId": product_id, "delta": delta}}, token=ADMIN_TOKEN)
        restocked: dict[str, Any] = answer["restock"]
        return restocked

    assert await restock(10) == {"id": product_id, "stock": 10, "soldOut": False}
    await server.purchase(product_id, quantity=4)
    assert await restock(-6) == {"id": product_id, "stock": 0, "soldOut": True}
    assert (await server.purchase(product_id))["status"] == "SOLD_OUT"
    assert await restock(1) == {"id": product_id, "stock": 1, "soldOut": False}
    assert (await server.purchase(product_id))["status"] == "CONFIRMED"


async def test_mutations_of_one_request_run_one_after_the_other(server: Server) -> None:
    product_id = await server.create_product(0)
    query = """
    mutation ($plus: RestockInput!, $minus: RestockInput!) {
      a: restock(input: $plus) { stock } b: restock(input: $minus) { stock } c: restock(input: $plus) { stock }
    }
    """
    plus, minus = ({"productId": product_id, "delta": delta} for delta in (5, -5))
    answer = await server.data(query, {"plus": plus, "minus": minus}, token=ADMIN_TOKEN)
    assert answer == {"a": {"stock": 5}, "b": {"stock": 0}, "c": {"stock": 5}}


async def test_a_page_is_one_statement(server: Server, pool: Pool, drop: str, statements: list[Statement]) -> None:
    await fill(pool, drop, 100)
    statements.clear()
    assert len((await page(server, first=100))["edges"]) == 100
    assert len(statements) == 1


async def test_products_by_id_are_read_together(
    server: Server, pool: Pool, drop: str, statements: list[Statement]
) -> None:
    await fill(pool, drop, 9)
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM products WHERE drop_name = $1", f"{drop}0")]
    statements.clear()
    each = " ".join(f'p{number}: product(id: "{product_id}") {{ name }}' for number, product_id in enumerate(ids))
    answer = await server.data(f"{{ {each} }}")
    assert sorted(product["name"] for product in answer.values()) == [f"Tee {number}" for number in range(1, 10)]
    assert len(statements) == 1


async def test_now_is_the_databases_clock(server: Server, pool: Pool) -> None:
    before = (await pool.fetch("SELECT now() AS now"))[0]["now"]
    now = datetime.fromisoformat((await server.data("{ now }"))["now"])
    after = (await pool.fetch("SELECT now() AS now"))[0]["now"]

    assert before <= now <= after


async def test_a_product_shows_its_version_and_all_units_ever_stocked(server: Server) -> None:
    product_id = await server.create_product(stock=5, shards=1)
    read = "query ($id: ID!) { product(id: $id) { stock stocked version } }"
    assert await server.data(read, {"id": product_id}) == {"product": {"stock": 5, "stocked": 5, "version": 1}}

    await server.purchase(product_id, quantity=2)
    assert await server.data(read, {"id": product_id}) == {"product": {"stock": 3, "stocked": 5, "version": 2}}
    await server.data(RESTOCK, {"input": {"productId": product_id, "delta": 4}}, token=ADMIN_TOKEN)
    assert await server.data(read, {"id": product_id}) == {"product": {"stock": 7, "stocked": 9, "version": 3}}
