"""The operator's requests about products. A product is the API's object, with the API's names."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from uuid import uuid4

from api.client.graphql import GraphQLClient

Node: TypeAlias = dict[str, Any]
"""An object of the API, with the fields that were selected."""

FIELDS = (
    *("id", "name", "dropName", "description", "stock", "stocked", "opensAt", "closesAt", "pausedAt", "archivedAt"),
    *("limitPerBuyer", "holdSeconds", "revision", "createdAt", "family", "option"),
)
DETAILS = {
    "price": ("amount", "currency"),
    "images": ("url", "alt", "width", "height"),
    "descriptions": ("language", "text"),
}
"""The fields that are objects or lists of them, with the fields of each. A list of products has the price alone."""

_LISTED = " ".join((*FIELDS, "price { amount currency }"))
_FIELDS = " ".join((*FIELDS, *(f"{name} {{ {' '.join(fields)} }}" for name, fields in DETAILS.items())))
_CREATE = f"mutation CreateProduct($input: CreateProductInput!) {{ createProduct(input: $input) {{ {_FIELDS} }} }}"
_RESTOCK = f"mutation Restock($input: RestockInput!) {{ restock(input: $input) {{ {_FIELDS} }} }}"
_UPDATE = f"mutation UpdateProduct($input: UpdateProductInput!) {{ updateProduct(input: $input) {{ {_FIELDS} }} }}"
_PRODUCT = f"query Product($id: ID!) {{ product(id: $id) {{ {_FIELDS} held }} }}"
_LIST = f"""
query Products($first: Int, $after: String, $dropName: String, $archived: Boolean) {{
  products(first: $first, after: $after, dropName: $dropName, archived: $archived) {{
    edges {{ node {{ {_LISTED} }} }} pageInfo {{ hasNextPage endCursor }}
  }}
}}
"""


async def create_product(client: GraphQLClient, product: Mapping[str, Any]) -> Node:
    """Create a product, whose values are those of CreateProductInput, and return it. Raises RequestFailed."""
    keyed = {**product, "idempotencyKey": str(uuid4())}  # so that an answer that was lost creates no second product
    return await _changed(client, _CREATE, "createProduct", {"input": keyed})


async def restock(client: GraphQLClient, product_id: str, delta: int) -> Node:
    """Add `delta` units, which may be negative, and return the product. Raises RequestFailed."""
    restocked = {"productId": product_id, "delta": delta, "idempotencyKey": str(uuid4())}
    return await _changed(client, _RESTOCK, "restock", {"input": restocked})


async def update_product(client: GraphQLClient, product_id: str, revision: int, values: Mapping[str, Any]) -> Node:
    """Change the values, which are those of UpdateProductInput, and return the product. Raises RequestFailed."""
    update = {**values, "productId": product_id, "revision": revision}
    return await _changed(client, _UPDATE, "updateProduct", {"input": update})


async def switch_product(client: GraphQLClient, product_id: str, mutation: str) -> Node:
    """Execute `pauseProduct`, `resumeProduct` or `archiveProduct`, and return the product. Raises RequestFailed."""
    document = f"mutation Switch($id: ID!) {{ {mutation}(productId: $id) {{ {_FIELDS} }} }}"
    return await _changed(client, document, mutation, {"id": product_id})


async def get_product(client: GraphQLClient, product_id: str) -> Node | None:
    """The product, with the units held; None if there is no such product. Raises RequestFailed."""
    with client.checking_data():
        node = (await client.execute(_PRODUCT, {"id": product_id}))["product"]
        return None if node is None else {**_product_of(node), "held": node["held"]}


async def list_products(
    client: GraphQLClient, drop_name: str | None, limit: int, *, archived: bool = False
) -> list[Node]:
    """Return the newest products, `limit` at most, without images and descriptions. Raises RequestFailed."""
    variables = {"dropName": drop_name, "archived": archived}
    return await read_pages(client, _LIST, "products", variables, limit, _listed_of)


async def read_pages(
    client: GraphQLClient,
    query: str,
    field: str,
    variables: Mapping[str, Any],
    limit: int,
    shaped: Callable[[Mapping[str, Any]], Node],
) -> list[Node]:
    """The newest nodes of a list of the API, `limit` at most. `shaped` returns what is kept of a node, and raises
    LookupError or TypeError for a node of another shape. Raises RequestFailed."""
    nodes: list[Node] = []
    after: str | None = None
    while len(nodes) < limit:
        with client.checking_data():
            page = await client.execute(query, {**variables, "first": min(100, limit - len(nodes)), "after": after})
            edges, info = page[field]["edges"], page[field]["pageInfo"]
            has_next, after = info["hasNextPage"], info["endCursor"]
            nodes += [shaped(edge["node"]) for edge in edges]
        if not has_next or not edges:
            break
    return nodes


async def _changed(client: GraphQLClient, mutation: str, field: str, variables: Mapping[str, Any]) -> Node:
    with client.checking_data():
        return _product_of((await client.execute(mutation, variables))[field])


def _product_of(node: Mapping[str, Any]) -> Node:
    lists = {name: [_part(name, each) for each in node[name]] for name in ("images", "descriptions")}
    return {**_listed_of(node), **lists}


def _listed_of(node: Mapping[str, Any]) -> Node:
    scalars = {name: node[name] for name in FIELDS}
    return {**scalars, "price": None if node["price"] is None else _part("price", node["price"])}


def _part(name: str, node: Mapping[str, Any]) -> Node:
    return {field: node[field] for field in DETAILS[name]}
