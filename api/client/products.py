"""The operator's requests about products."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from api.client.graphql import GraphQLClient

_FIELDS = "id name dropName stock opensAt limitPerBuyer holdSeconds"
_CREATE = f"mutation CreateProduct($input: CreateProductInput!) {{ createProduct(input: $input) {{ {_FIELDS} }} }}"
_RESTOCK = f"mutation Restock($input: RestockInput!) {{ restock(input: $input) {{ {_FIELDS} }} }}"
_LIST = f"""
query Products($first: Int, $after: String, $dropName: String) {{
  products(first: $first, after: $after, dropName: $dropName) {{
    edges {{ node {{ {_FIELDS} }} }} pageInfo {{ hasNextPage endCursor }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the API returns it. Times are the API's strings."""

    id: str
    name: str
    drop_name: str
    stock: int
    opens_at: str | None
    limit_per_buyer: int | None
    hold_seconds: int | None

    @classmethod
    def of(cls, node: dict[str, Any]) -> "Product":
        opens_at, limit, hold = node["opensAt"], node["limitPerBuyer"], node["holdSeconds"]
        return cls(
            str(node["id"]),
            str(node["name"]),
            str(node["dropName"]),
            int(node["stock"]),
            None if opens_at is None else str(opens_at),
            None if limit is None else int(limit),
            None if hold is None else int(hold),
        )


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A product to create, with the values of CreateProductInput."""

    name: str
    drop_name: str
    stock: int
    opens_at: datetime | None
    limit_per_buyer: int | None
    hold_seconds: int | None
    shards: int


async def create_product(client: GraphQLClient, new: NewProduct) -> Product:
    """Create a product and return it. Raises RequestFailed."""
    product = {
        "name": new.name,
        "dropName": new.drop_name,
        "stock": new.stock,
        "opensAt": None if new.opens_at is None else new.opens_at.isoformat(),
        "limitPerBuyer": new.limit_per_buyer,
        "holdSeconds": new.hold_seconds,
        "shards": new.shards,
        "idempotencyKey": str(uuid4()),  # so that an answer that was lost creates no second product
    }
    with client.checking_data():
        return Product.of((await client.execute(_CREATE, {"input": product}))["createProduct"])


async def restock(client: GraphQLClient, product_id: str, delta: int) -> Product:
    """Add `delta` units, which may be negative, and return the product. Raises RequestFailed."""
    with client.checking_data():
        data = await client.execute(
            _RESTOCK, {"input": {"productId": product_id, "delta": delta, "idempotencyKey": str(uuid4())}}
        )
        return Product.of(data["restock"])


async def list_products(client: GraphQLClient, drop_name: str | None, limit: int) -> list[Product]:
    """Return the newest products, `limit` at most. Raises RequestFailed."""
    products: list[Product] = []
    after: str | None = None
    while len(products) < limit:
        variables = {"first": min(100, limit - len(products)), "after": after, "dropName": drop_name}
        with client.checking_data():
            page = (await client.execute(_LIST, variables))["products"]
            edges, has_next, after = page["edges"], page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
            products += [Product.of(edge["node"]) for edge in edges]
        if not has_next or not edges:
            break
    return products
