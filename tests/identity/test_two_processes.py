"""Two server processes of one shop: a buyer's limit holds over both, and neither writes a secret anywhere."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from api.settings import read_settings
from tests.command import Serving, dropzero_here, dropzero_serve
from tests.graphql.callers import ADA, GUEST, OPERATOR, Shop
from tests.graphql.operations import CANCEL, ORDERS
from tests.graphql.several import client_headers
from tests.identity.shop_issuer import AUDIENCE, SigningKey, shop_issuer
from tests.server import ADMIN_TOKEN, GUEST_KEY, PURCHASE, Server

LIMIT, CLICKS = 3, 60
SUES_TOKEN = "the-token-of-sue-the-operator"
PAULS_TOKEN = "the-token-of-paul-the-operator"
NEW_GUEST = "mutation { guest { token } }"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Branches:
    """Server processes of one shop, on one database."""

    shops: list[Shop]
    servers: list[Serving]
    variables: dict[str, str]


@asynccontextmanager
async def branches(folder: Path, database_url: str, number: int, *arguments: str) -> AsyncIterator[Branches]:
    async with shop_issuer() as issuer, AsyncExitStack() as stack:
        variables = {
            "DROPZERO_ENDPOINTS": f"here={database_url}",
            "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN,
            "DROPZERO_ADMIN_TOKENS": f"sue=sha256:{sha256(SUES_TOKEN.encode()).hexdigest()},paul={PAULS_TOKEN}",
            "DROPZERO_GUEST_KEY": GUEST_KEY,
            "DROPZERO_ISSUER": issuer.url,
            "DROPZERO_AUDIENCE": AUDIENCE,
            "DROPZERO_TRUSTED_PROXIES": "127.0.0.1",
        }
        servers = [
            await stack.enter_async_context(dropzero_serve(folder / f"server-{each}", *arguments, **variables))
            for each in range(number)
        ]
        yield Branches([Shop(server, issuer) for server in servers], servers, variables)


@pytest.mark.parametrize("caller", [ADA, GUEST])
async def test_a_limit_holds_for_a_subject_that_clicks_on_two_servers(
    tmp_path: Path, postgres_url: str, caller: str
) -> None:
    """The subject has several tokens: one for each device, at a shop with accounts."""
    async with branches(tmp_path, postgres_url, 2) as both:
        shops = both.shops
        product_id = await shops[0].server.create_product(CLICKS, limitPerBuyer=LIMIT)
        tokens = [shops[0].token(caller)] * CLICKS
        if caller == ADA:
            tokens = [shops[0].token(ADA, jti=number % 4) for number in range(CLICKS)]

        clicks = [
            shops[number % 2].server.data(PURCHASE, {"input": {"productId": product_id}}, token=token)
            for number, token in enumerate(tokens)
        ]
        outcomes = Counter(answer["purchase"]["status"] for answer in await asyncio.gather(*clicks))

        assert outcomes == {"CONFIRMED": LIMIT, "LIMIT_REACHED": CLICKS - LIMIT}
        orders = (await shops[1].server.data(ORDERS, {"productId": product_id}, token=tokens[0]))["orders"]["edges"]
        assert len(orders) == LIMIT
        assert (await dropzero_here("audit", DROPZERO_ENDPOINTS=both.variables["DROPZERO_ENDPOINTS"])).status == 0


async def buy_and_fail(shop: Shop, server: Server) -> list[str]:
    """Send tokens of every kind, valid and not. Returns what must be written nowhere."""
    product_id = await server.create_product(10)
    tokens = [shop.token(caller) or "" for caller in (ADA, GUEST, OPERATOR)] + [SUES_TOKEN, PAULS_TOKEN]
    tokens.append((await server.data(NEW_GUEST))["guest"]["token"])
    refused = [f"a-wrong-token-{number}" for number in range(12)]
    refused.append(SigningKey("unknown").token(shop.issuer.claims()))
    refused.append(SigningKey("first", number=1).token(shop.issuer.claims()))
    for token in (*tokens, *refused):
        order = {"input": {"productId": product_id, "userRef": "ada"}}
        answer = await server.ask(PURCHASE, order, token=token)
        bought = (answer.get("data") or {}).get("purchase")
        if bought is not None:
            await server.ask(CANCEL, {"input": {"orderId": bought["order"]["id"]}}, token=token)
        assert token not in str(answer)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        async with server.session.post(f"{server.url}/graphql", data=b"{", headers=headers) as response:
            assert token not in await response.text()
    return [*tokens, *refused]


def command_lines(process: int) -> str:
    """The command lines of a process and of its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    lines = [Path(f"/proc/{process}/cmdline").read_text()]
    return "\n".join(lines + [command_lines(int(child)) for child in children])


async def test_no_secret_is_written_anywhere(tmp_path: Path, postgres_url: str) -> None:
    async with branches(tmp_path, postgres_url, 1, "--workers", "2") as branch:
        [shop], [server] = branch.shops, branch.servers
        secrets = await buy_and_fail(shop, shop.server)
        # Another client: the wrong tokens keep the first one waiting.
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}", **client_headers(1)}
        async with server.session.get(f"{server.url}/metrics", headers=headers) as response:
            assert response.status == 200
            metrics = await response.text()
        lines = command_lines(server.process.pid)
        await server.stop()

    settings = read_settings(branch.variables)
    secrets += [GUEST_KEY, sha256(SUES_TOKEN.encode()).hexdigest(), sha256(ADMIN_TOKEN.encode()).hexdigest()]
    # The signature of a token is as good as the token.
    secrets += [part for secret in secrets for part in re.split(r"\.", secret)[2:]]
    assert lines.count("serve") >= 1
    assert "sue cancelled the order" in server.log
    for secret in secrets:
        for place in (server.log, server.announced, metrics, lines, repr(settings), str(settings)):
            assert secret not in place
