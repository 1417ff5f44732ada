"""The operator's requests about products."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.client.graphql import GraphQLClient

_FIELDS = "id name dropName stock opensAt limitPerBuyer"
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
    """A product as the API tells it; the times are its strings."""

    id: str
    name: str
    drop_name: str
    stock: int
    opens_at: str | None
    limit_per_buyer: int | None

    @classmethod
    def of(cls, node: dict[str, Any]) -> "Product":
        return cls(node["id"], node["name"], node["dropName"], node["stock"], node["opensAt"], node["limitPerBuyer"])


async def create_product(
    client: GraphQLClient,
    *,
    name: str,
    drop_name: str,
    stock: int,
    opens_at: datetime | None,
    limit_per_buyer: int | None,
) -> Product:
    """Raises RequestFailed."""
    product = {
        "name": name,
        "dropName": drop_name,
        "stock": stock,
        "opensAt": None if opens_at is None else opens_at.isoformat(),
        "limitPerBuyer": limit_per_buyer,
    }
    return Product.of((await client.execute(_CREATE, {"input": product}))["createProduct"])


async def restock(client: GraphQLClient, product_id: str, delta: int) -> Product:
    """Raises RequestFailed."""
    data = await client.execute(_RESTOCK, {"input": {"productId": product_id, "delta": delta}})
    return Product.of(data["restock"])


async def list_products(client: GraphQLClient, drop_name: str | None, limit: int) -> list[Product]:
    """The newest products, `limit` at most. Raises RequestFailed."""
    products: list[Product] = []
    after: str | None = None
    while len(products) < limit:
        variables = {"first": min(100, limit - len(products)), "after": after, "dropName": drop_name}
        page = (await client.execute(_LIST, variables))["products"]
        products += [Product.of(edge["node"]) for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    return products
