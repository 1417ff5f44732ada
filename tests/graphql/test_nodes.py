"""Nodes and products by their ids: their order, what is missing, the bounds, and the cost of reading."""

from typing import Any
from uuid import uuid4

import pytest

from tests.graphql.operations import UNKNOWN_ID
from tests.plans import Statement
from tests.server import ADMIN_TOKEN, Server

NODE = """
query ($id: ID!) { node(id: $id) { __typename id ... on Product { name stock } ... on Order { quantity } } }
"""
NODES = """
query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Product { name stock } ... on Order { quantity } } }
"""
PRODUCTS = "query ($ids: [ID!]!) { productsByIds(ids: $ids) { id stock } }"


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def bought(server: Server, product_id: str) -> str:
    order_id: str = (await server.purchase(product_id, "ada"))["order"]["id"]
    return order_id


async def test_a_node_is_a_product_or_an_order_or_null(server: Server) -> None:
    product_id = await server.create_product(5)
    order_id = await bought(server, product_id)

    async def node(id_: str) -> Any:
        return (await server.data(NODE, {"id": id_}))["node"]

    assert await node(product_id) == {"__typename": "Product", "id": product_id, "name": "Tee", "stock": 4}
    assert await node(order_id) == {"__typename": "Order", "id": order_id, "quantity": 1}
    assert await node(UNKNOWN_ID) is None
    code, message = await server.refusal(NODE, {"id": "UHJvZHVjdDox"})
    assert (code, message.startswith("id must be a UUID")) == ("BAD_USER_INPUT", True)


async def test_nodes_have_the_order_of_their_ids_and_are_read_in_three_statements(
    server: Server, statements: list[Statement]
) -> None:
    products = [await server.create_product(stock) for stock in (3, 4)]
    orders = [await bought(server, product_id) for product_id in products]
    statements.clear()

    ids = [orders[1], products[0], UNKNOWN_ID, products[1], products[0].upper(), orders[0]]
    nodes = (await server.data(NODES, {"ids": ids}, token=ADMIN_TOKEN))["nodes"]

    found = [None if node is None else (node["__typename"], node["id"]) for node in nodes]
    assert found == [
        ("Order", orders[1]),
        ("Product", products[0]),
        None,
        ("Product", products[1]),
        ("Product", products[0]),
        ("Order", orders[0]),
    ]
    assert len(statements) == 3, "one for each kind of node"


async def test_products_by_ids_are_read_in_one_statement(server: Server, statements: list[Statement]) -> None:
    products = [await server.create_product(stock) for stock in range(1, 13)]
    statements.clear()

    ids = [*reversed(products), UNKNOWN_ID, products[0]]
    found = (await server.data(PRODUCTS, {"ids": ids}))["productsByIds"]

    stocks = [None if product is None else product["stock"] for product in found]
    assert stocks == [*range(12, 0, -1), None, 1]
    assert len(statements) == 1


@pytest.mark.parametrize("query", [NODES, PRODUCTS])
@pytest.mark.parametrize("number", [0, 101])
async def test_a_query_names_one_to_a_hundred_ids(server: Server, query: str, number: int) -> None:
    [error] = (await server.ask(query, {"ids": [str(uuid4()) for _ in range(number)]}))["errors"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "field": "ids"}
    assert error["message"] == f"ids must name 1 to 100 ids, not {number}"
