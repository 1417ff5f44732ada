"""The cost of a page: a hostile head must not make it dear."""

import asyncio
import contextlib
import time
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message

from api.database.endpoint import Endpoint
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.drops.drops import Drops
from api.drops.group_policy import GroupPolicy
from api.drops.stock import PollingTimes
from api.identity.authenticator import Authenticator
from api.identity.clients import Clients
from api.identity.operator_tokens import OperatorTokens
from api.identity.refusals import Refusals
from api.storefront.rendering import Options
from api.storefront.routes import Storefront

MUCH = 60_000
"""Bytes of a request's head that repeat one thing."""

HOSTILE = {
    "accept-language": {"headers": [(b"accept-language", b"a," * (MUCH // 2))]},
    "weighted": {"headers": [(b"accept-language", b"a;q=0.5," * (MUCH // 8))]},
    "blanks": {"headers": [(b"accept-language", b" " * MUCH + b"a")]},
    "cookies": {"headers": [(b"cookie", b"a=b;" * (MUCH // 4))]},
    "cookies of a language": {"headers": [(b"cookie", b"dropzero_language=!;" * (MUCH // 20))]},
    "cookies without end": {"headers": [(b"cookie", b"dropzero_language=ja" + b" " * MUCH)]},
    "blank cookies": {"headers": [(b"cookie", b"; " * (MUCH // 2))]},
    "parameters": {"query_string": b"a&" * (MUCH // 2)},
    "languages": {"query_string": b"lang=xx&" * (MUCH // 8)},
    "one language": {"query_string": b"lang=" + b"%41" * (MUCH // 3)},
    "etags": {"headers": [(b"if-none-match", b'"a",' * (MUCH // 4))]},
    "folders": {"path": "/" + "a/" * (MUCH // 2)},
    "folders of files": {"path": "/static/" + "a/" * (MUCH // 2)},
    "dots": {"path": "/static/" + "a/../" * (MUCH // 5) + "api.js"},
}


def unused_drops() -> Drops:
    """Drops without a database, for pages that read nothing."""
    endpoint = Endpoint("home", "postgresql://nobody@127.0.0.1:1/none")
    return Drops(Regions((endpoint,), 1), GroupPolicy(), RetryBudget(), PollingTimes())


async def cost_of(storefront: Storefront, **head: Any) -> float:
    """Return the seconds of processor time for the answer to a GET, the least of ten."""
    scope = {
        "type": "http",
        "scheme": "http",
        "method": "GET",
        "path": "/architecture",
        "query_string": b"",
        "headers": [],
    } | head

    async def receive() -> Message:
        return await asyncio.Future()

    async def send(message: Message) -> None:
        pass

    costs = []
    for _ in range(10):
        begun = time.process_time()
        with contextlib.suppress(HTTPException):
            await storefront(dict(scope), receive, send)
        costs.append(time.process_time() - begun)
    return min(costs)


@pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
async def test_a_page_costs_about_the_same_whatever_its_head_repeats(head: dict[str, Any]) -> None:
    drops = unused_drops()
    await drops.open()
    authenticator = Authenticator(OperatorTokens(None, {}), Refusals())
    options = Options(graphiql=False, race=False, demo=True, guests=True)
    storefront = Storefront(drops, authenticator, Clients(()), options)
    # The page of an address without one reads what is on sale.
    usual = await cost_of(storefront, path="/none" if "path" in head else "/architecture")
    assert await cost_of(storefront, **head) < 20 * usual
    await drops.close(0)
