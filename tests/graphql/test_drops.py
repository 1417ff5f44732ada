"""Drops through the API: the list, a drop by its slug, the drop of a product, and what a page of them costs."""

from typing import Any
from uuid import uuid4

import pytest

from api.drops.catalogue import drop_id, slug_of
from tests.plans import Statement
from tests.server import Server

OF_A_DROP = "id slug name opensAt createdAt"
PAGE = f"""
query ($first: Int, $after: String) {{
  drops(first: $first, after: $after) {{
    edges {{ cursor node {{ {OF_A_DROP} }} }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
  }}
}}
"""
PRODUCTS_OF_DROPS = """
{ drops(first: 12) { edges { node { name opensAt products(first: 2) {
  edges { cursor node { name drop { slug } } } pageInfo { hasNextPage endCursor }
} } } } }
"""
NEXT = """
query ($slug: String!, $after: String) {
  drop(slug: $slug) { products(first: 2, after: $after) { edges { node { name } } pageInfo { hasNextPage } } }
}
"""
OPENING = "2030-12-01T10:00:00+00:00"


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def create_drop(server: Server, products: int = 1, **more: Any) -> str:
    """The name of a new drop with so many products."""
    name = f"Drop {uuid4()}"
    for number in range(products):
        await server.create_product(name=f"Tee {number}", dropName=name, **more)
    return name


async def test_drops_are_listed_newest_first(server: Server) -> None:
    old, new = await create_drop(server), await create_drop(server, opensAt=OPENING)

    first = (await server.data(PAGE, {"first": 1}))["drops"]
    second = (await server.data(PAGE, {"first": 1, "after": first["pageInfo"]["endCursor"]}))["drops"]

    assert [page["edges"][0]["node"]["name"] for page in (first, second)] == [new, old]
    assert first["pageInfo"]["hasNextPage"]
    assert second["pageInfo"]["hasPreviousPage"]
    node = first["edges"][0]["node"]
    assert (node["id"], node["slug"], node["opensAt"]) == (str(drop_id(new)), slug_of(new), OPENING)
    assert await server.data(f'{{ drop(slug: "{node["slug"]}") {{ {OF_A_DROP} }} }}') == {"drop": node}
    assert await server.data('{ drop(slug: "no-such-drop") { id } }') == {"drop": None}


async def test_the_products_of_many_drops_take_few_statements(server: Server, statements: list[Statement]) -> None:
    names = [await create_drop(server, products=3) for _ in range(12)]
    statements.clear()

    edges = (await server.data(PRODUCTS_OF_DROPS))["drops"]["edges"]

    assert len(statements) <= 6, "the drops, their openings, two steps for their products, and the drops of products"
    assert {edge["node"]["name"] for edge in edges} == set(names)
    for edge in edges:
        name, products = edge["node"]["name"], edge["node"]["products"]
        assert [each["node"] for each in products["edges"]] == [
            {"name": f"Tee {number}", "drop": {"slug": slug_of(name)}} for number in (2, 1)
        ]
        assert products["pageInfo"]["hasNextPage"]
    after = {"slug": slug_of(names[0]), "after": edges[-1]["node"]["products"]["pageInfo"]["endCursor"]}
    assert await server.data(NEXT, after) == {
        "drop": {"products": {"edges": [{"node": {"name": "Tee 0"}}], "pageInfo": {"hasNextPage": False}}}
    }


@pytest.mark.parametrize("first", [0, 101])
async def test_a_page_of_another_size_is_refused(server: Server, first: int) -> None:
    slug = slug_of(await create_drop(server))
    for query in (
        f"{{ drops(first: {first}) {{ edges {{ cursor }} }} }}",
        f'{{ drop(slug: "{slug}") {{ products(first: {first}) {{ edges {{ cursor }} }} }} }}',
    ):
        [error] = (await server.ask(query))["errors"]
        assert error["message"] == f"first must be between 1 and 100, not {first}"
