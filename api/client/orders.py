"""The operator's requests about orders, and about what operators have done. Both are the API's objects."""

import re
from collections.abc import Mapping
from typing import Any

from api.client.graphql import GraphQLClient, RequestFailed
from api.client.products import Node, read_pages

STATUSES = ("HELD", "CONFIRMED", "CANCELLED", "LAPSED")

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")

FIELDS = (
    *("id", "reference", "productId", "productName", "userRef", "quantity", "status", "region"),
    *("createdAt", "heldUntil", "confirmedAt", "paymentRef", "price", "currency"),
)
"""The fields of an order, as an export has them."""

_FIELDS = """
id reference product { id name } userRef quantity status region createdAt heldUntil confirmedAt paymentRef
price { amount currency }
"""
_LIST = f"""
query Orders(
  $first: Int, $after: String, $userRef: String, $productId: ID, $reference: String, $status: OrderStatus,
  $since: DateTime, $until: DateTime
) {{
  orders(
    first: $first, after: $after, userRef: $userRef, productId: $productId, reference: $reference, status: $status,
    since: $since, until: $until
  ) {{ edges {{ node {{ {_FIELDS} }} }} pageInfo {{ hasNextPage endCursor }} }}
}}
"""
_ORDER = f"query Order($id: ID!) {{ order(id: $id) {{ {_FIELDS} }} }}"
_COUNTS = f"""
query OrderCounts($productId: ID!) {{
  orderCounts(productId: $productId) {{ {" ".join(f"{status.lower()} {{ orders units }}" for status in STATUSES)} }}
}}
"""
_CANCEL = f"mutation CancelOrder($input: CancelOrderInput!) {{ cancelOrder(input: $input) {{ {_FIELDS} }} }}"
_LOG = """
query OperatorLog($first: Int, $after: String, $productId: ID) {
  operatorLog(first: $first, after: $after, productId: $productId) {
    edges { node { id at operator action productId orderId changes { field before after } } }
    pageInfo { hasNextPage endCursor }
  }
}
"""


async def list_orders(client: GraphQLClient, search: Mapping[str, Any], limit: int) -> list[Node]:
    """The newest orders of a search, `limit` at most. `search` has the arguments of `orders`. Raises RequestFailed."""
    return await read_pages(client, _LIST, "orders", search, limit, _order_of)


async def find_order(client: GraphQLClient, name: str) -> Node:
    """The order of this id or reference. Raises RequestFailed, also when there is none, or more than one."""
    if _UUID.fullmatch(name):
        with client.checking_data():
            order = (await client.execute(_ORDER, {"id": name}))["order"]
            found = [] if order is None else [_order_of(order)]
    else:
        found = await list_orders(client, {"reference": name}, limit=10)
    if not found:
        raise RequestFailed(f"there is no order {name}")
    if len(found) > 1:
        ids = ", ".join(str(order["id"]) for order in found)
        raise RequestFailed(f"{len(found)} orders have the reference {name}: name one by its id: {ids}")
    return found[0]


async def count_orders(client: GraphQLClient, product_id: str) -> Node:
    """The counts of a product by status. Raises RequestFailed."""
    with client.checking_data():
        counts = (await client.execute(_COUNTS, {"productId": product_id}))["orderCounts"]
        return {
            name: {"orders": int(counts[name]["orders"]), "units": int(counts[name]["units"])}
            for name in map(str.lower, STATUSES)
        }


async def cancel_order(client: GraphQLClient, order_id: str) -> Node:
    """Cancel the order, and return it. Raises RequestFailed."""
    with client.checking_data():
        return _order_of((await client.execute(_CANCEL, {"input": {"orderId": order_id}}))["cancelOrder"])


async def read_log(client: GraphQLClient, product_id: str | None, limit: int) -> list[Node]:
    """The newest entries of the operator log, `limit` at most. Raises RequestFailed."""
    return await read_pages(client, _LOG, "operatorLog", {"productId": product_id}, limit, _entry_of)


def _order_of(node: Mapping[str, Any]) -> Node:
    price = node["price"] or {"amount": None, "currency": None}
    inner = {
        "productId": node["product"]["id"],
        "productName": node["product"]["name"],
        "price": price["amount"],
        "currency": price["currency"],
    }
    return {name: inner[name] if name in inner else node[name] for name in FIELDS}


def _entry_of(node: Mapping[str, Any]) -> Node:
    entry = {name: node[name] for name in ("id", "at", "operator", "action", "productId", "orderId")}
    changes = [{name: change[name] for name in ("field", "before", "after")} for change in node["changes"]]
    return {**entry, "changes": changes}
