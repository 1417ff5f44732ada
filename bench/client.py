"""Purchases from Python, for what wrk cannot do: a fixed rate, a fixed number, an answer for every buyer."""

import time
import uuid
from dataclasses import dataclass

import aiohttp
import orjson

_PURCHASE = (
    "mutation Buy($input: PurchaseInput!) { purchase(input: $input) "
    "{ status attempts ... on PurchaseConfirmed { order { id } } } }"
)
_PURCHASE_WITH_VERSION = _PURCHASE.replace("{ id }", "{ id product { version } }")


@dataclass(frozen=True)
class Answer:
    """The answer that one buyer got, and how many milliseconds after the purchase was due. `version` is that of the
    stock after the purchase; 0 if it was not selected."""

    status: str
    attempts: int
    order_id: str | None
    latency_ms: float
    version: int = 0


async def purchase(
    session: aiohttp.ClientSession,
    url: str,
    product_id: str,
    due: float,
    *,
    with_version: bool = False,
    user_ref: str | None = None,
    token: str = "",
) -> Answer:
    """Purchase one unit. `due` is when the purchase should have been sent, by time.perf_counter(). `user_ref` is the
    buyer, another for each purchase if None, and `token` the buyer's. The session's headers can have the operator's."""
    query = _PURCHASE_WITH_VERSION if with_version else _PURCHASE
    key = uuid.uuid4().hex
    wanted = {"productId": product_id, "userRef": user_ref or key, "idempotencyKey": key}
    body = orjson.dumps({"query": query, "variables": {"input": wanted}})
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        async with session.post(f"{url}/graphql", data=body, headers=headers) as response:
            result = orjson.loads(await response.read())["data"]["purchase"]
    except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        return Answer(f"error: {type(error).__name__}", 0, None, (time.perf_counter() - due) * 1000)
    latency_ms = (time.perf_counter() - due) * 1000
    if result["status"] != "CONFIRMED":
        return Answer(result["status"], result["attempts"], None, latency_ms)
    order = result["order"]
    version = order["product"]["version"] if with_version else 0
    return Answer(result["status"], result["attempts"], order["id"], latency_ms, version)
