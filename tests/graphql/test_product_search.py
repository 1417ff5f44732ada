"""Lists of products with a filter or in another order, through the API."""

from typing import Any
from uuid import uuid4

import pytest

from api.database.pool import Pool
from api.drops.catalogue import slug_of
from api.drops.product_search import MAX_EXAMINED
from tests.server import Server

PAGE = """
query ($first: Int, $after: String, $last: Int, $before: String, $filter: ProductFilter, $sort: ProductSort,
       $dropName: String, $archived: Boolean) {
  products(first: $first, after: $after, last: $last, before: $before, filter: $filter, sort: $sort,
           dropName: $dropName, archived: $archived) {
    nodes { name availability } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount
  }
}
"""
PAST, SOON, LATE = "2020-01-01T10:00:00Z", "2030-12-01T10:00:00Z", "2031-12-01T10:00:00Z"
SOLD_OUT = """
WITH added AS (
    INSERT INTO products (id, name, drop_name, created_at)
    SELECT gen_random_uuid(), 'Tee', $1, now() + n * interval '1 second' FROM generate_series(1, $2::integer) AS n
    RETURNING id
)
INSERT INTO stock_shards (product_id, shard, stock, stocked, version) SELECT id, 0, 0, 5, 1 FROM added
"""


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
async def drop(server: Server) -> str:
    """The name of a drop with five products, created in this order."""
    name = f"Drop {uuid4()}"
    for product, stock, more in (
        ("late", 1, {"opensAt": LATE}),
        ("soon", 0, {"opensAt": SOON, "family": "Tee"}),
        ("open", 1, {"opensAt": PAST, "family": "Tee"}),
        ("sold out", 0, {}),
        ("closed", 1, {"opensAt": PAST, "closesAt": "2020-01-02T10:00:00Z"}),
    ):
        await server.create_product(stock, name=product, dropName=name, **more)
    return name


async def page(server: Server, drop: str, filter: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:  # noqa: A002
    variables = {"filter": {"drop": slug_of(drop), **(filter or {})}, **more}
    found: dict[str, Any] = (await server.data(PAGE, variables))["products"]
    return found


def names(products: dict[str, Any]) -> list[str]:
    return [node["name"] for node in products["nodes"]]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, ["closed", "sold out", "open", "soon", "late"]),
        ({"availability": "ON_SALE"}, ["open"]),
        ({"availability": "COMING"}, ["soon", "late"]),
        ({"availability": "GONE"}, ["closed", "sold out"]),
        ({"family": "Tee"}, ["open", "soon"]),
        ({"family": "Tee", "availability": "COMING"}, ["soon"]),
        ({"opensBefore": LATE}, ["closed", "sold out", "open", "soon"]),
        ({"opensAfter": "2020-01-01T10:00:00Z", "opensBefore": LATE}, ["sold out", "soon"]),
    ],
)
async def test_a_filter_finds_the_products_that_meet_it(
    server: Server, drop: str, chosen: dict[str, Any], expected: list[str]
) -> None:
    found = await page(server, drop, chosen)
    assert names(found) == expected
    if "availability" in chosen:
        assert {node["availability"] for node in found["nodes"]} == {chosen["availability"]}
    assert found["totalCount"] is None


async def test_a_list_is_sorted_by_openings_in_both_directions(server: Server, drop: str) -> None:
    first = await page(server, drop, first=3, sort="OPENS_AT")
    second = await page(server, drop, first=3, sort="OPENS_AT", after=first["pageInfo"]["endCursor"])
    assert [sorted(names(first)[:2]), names(first)[2:], names(second)] == [
        ["closed", "open"],
        ["sold out"],
        ["soon", "late"],
    ]
    assert (first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (True, False)
    back = await page(server, drop, last=3, sort="OPENS_AT", before=second["pageInfo"]["startCursor"])
    assert names(back) == names(first)
    assert (back["pageInfo"]["hasNextPage"], back["pageInfo"]["hasPreviousPage"]) == (True, False)
    assert names(await page(server, drop, sort="OLDEST")) == ["late", "soon", "open", "sold out", "closed"]


async def test_a_cursor_of_another_order_is_refused_with_what_to_do(server: Server, drop: str) -> None:
    cursor = (await page(server, drop, first=1, sort="OLDEST"))["pageInfo"]["endCursor"]
    [error] = (await server.ask(PAGE, {"sort": "OPENS_AT", "after": cursor}))["errors"]
    assert error["message"] == (
        "after is not a cursor of products by OPENS_AT; pass the endCursor of an earlier page of products by OPENS_AT, "
        "or leave it out"
    )
    assert error["extensions"]["field"] == "after"


async def test_a_drop_that_is_not_there_has_no_products(server: Server, drop: str) -> None:
    assert (await page(server, "No such drop"))["nodes"] == []
    assert (await page(server, drop, dropName="Another"))["nodes"] == []
    assert len((await page(server, drop, dropName=drop))["nodes"]) == 5
    assert (await page(server, drop, {"availability": "ON_SALE"}, archived=True))["nodes"] == []


async def test_a_page_that_is_not_full_says_where_to_go_on(server: Server, shared_pool: Pool, drop: str) -> None:
    await shared_pool.execute(SOLD_OUT, drop, MAX_EXAMINED)
    first = await page(server, drop, {"availability": "ON_SALE"})
    assert (first["nodes"], first["pageInfo"]["hasNextPage"]) == ([], True)
    second = await page(server, drop, {"availability": "ON_SALE"}, after=first["pageInfo"]["endCursor"])
    assert (names(second), second["pageInfo"]["hasNextPage"]) == (["open"], False)
