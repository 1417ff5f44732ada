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


@dataclass(frozen=True)
class Answer:
    """The answer that one buyer got, and how many milliseconds after the purchase was due."""

    status: str
    attempts: int
    order_id: str | None
    latency_ms: float


async def purchase(session: aiohttp.ClientSession, url: str, product_id: str, due: float) -> Answer:
    """Purchase one unit. `due` is when the purchase should have been sent, by time.perf_counter()."""
    key = uuid.uuid4().hex
    wanted = {"productId": product_id, "userRef": key, "idempotencyKey": key}
    body = orjson.dumps({"query": _PURCHASE, "variables": {"input": wanted}})
    try:
        async with session.post(f"{url}/graphql", data=body, headers={"content-type": "application/json"}) as response:
            result = orjson.loads(await response.read())["data"]["purchase"]
    except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        return Answer(f"error: {type(error).__name__}", 0, None, (time.perf_counter() - due) * 1000)
    order_id = result["order"]["id"] if result["status"] == "CONFIRMED" else None
    return Answer(result["status"], result["attempts"], order_id, (time.perf_counter() - due) * 1000)
