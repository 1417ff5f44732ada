"""A flood of garbage tokens beside an honest buyer, and ten thousand addresses."""

import asyncio
import gc
import time
from collections import Counter, OrderedDict
from itertools import count
from typing import Any

import orjson
import pytest
from starlette.types import ASGIApp, Message

from api.app import create_app
from api.identity.admission import Admission
from api.identity.allowance import MAX_REMEMBERED
from api.identity.issuer_keys import IssuerTimes
from api.identity.json_web_keys import VerificationKey
from api.identity.signed_token import SignedToken
from tests.graphql.callers import ADA, Shop, open_shop, shop_settings
from tests.graphql.several import client_headers
from tests.identity.shop_issuer import LIFE, SigningKey, encoded, shop_issuer, token_of
from tests.patience import PATIENCE, until
from tests.server import PURCHASE, serving

GARBAGE = 1_000
AT_ONCE = 20

ADDRESSES = 16_000
NETWORK = "10.44."

PURCHASES = 50
"""Purchases of the honest buyer while garbage is sent."""


def garbage(shop: Shop, number: int) -> str:
    """A token that nobody has sent before, of one of several kinds."""
    said = shop.issuer.claims("ada", iat=int(time.time()), exp=int(time.time()) + LIFE, jti=number)
    kinds = (
        lambda: f"no-token-{number}",
        lambda: f"{encoded({'alg': 'ES256'})}.{number}.{number}",
        lambda: SigningKey(f"unknown-{number}").token(said),
        lambda: token_of({"alg": "ES256", "kid": "first"}, said, lambda _: number.to_bytes(64)),
        lambda: token_of({"alg": "HS256"}, {**said, "iss": "dropzero-guests"}, lambda _: number.to_bytes(32)),
        lambda: token_of({"alg": "none"}, said, lambda _: b""),
    )
    return kinds[number % len(kinds)]()


@pytest.mark.slow
async def test_an_honest_buyer_buys_beside_a_flood_of_garbage(
    shared_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    checks: list[str] = []
    verifies = VerificationKey.verifies

    def counted(key: VerificationKey, token: SignedToken) -> bool:
        checks.append(token.algorithm)
        return verifies(key, token)

    monkeypatch.setattr(VerificationKey, "verifies", counted)
    async with open_shop(shared_database_url, closed=True) as shop:
        server, token = shop.server, shop.token(ADA)
        product_id = await server.create_product(GARBAGE)
        answers: Counter[int] = Counter()
        numbers = count()
        honest_is_done = asyncio.Event()

        async def flood() -> None:
            for number in numbers:
                if number >= GARBAGE and honest_is_done.is_set():
                    return
                headers = {"authorization": f"Bearer {garbage(shop, number)}", **client_headers(1)}
                body = {"query": PURCHASE, "variables": {"input": {"productId": product_id, "userRef": ADA}}}
                async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
                    answers[response.status] += 1
                    assert "errors" in await response.json()

        async def buy() -> None:
            await until(lambda: answers.total() > 0)
            for _ in range(PURCHASES):
                outcome = await server.data(PURCHASE, {"input": {"productId": product_id}}, token=token)
                assert outcome["purchase"]["status"] == "CONFIRMED"
            honest_is_done.set()

        async with asyncio.timeout(2 * PATIENCE), asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(flood())
            tasks.create_task(buy())

        assert answers.keys() <= {200, 429}
        assert answers[429] > answers[200], "a client that goes on guessing waits"
        assert shop.issuer.readings <= 2 + (time.monotonic() - started) / IssuerTimes().between
        # One signature in six kinds is worth a check, and the buyer's token.
        assert len(checks) <= answers.total() / 6 + 2


async def called(app: ASGIApp, address: str, token: str) -> dict[str, Any]:
    """The application's response to a request from the address: a guest is made, whatever the token is."""
    headers = [(b"authorization", f"Bearer {token}".encode()), (b"host", b"localhost")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [*headers, (b"content-type", b"application/json")],
        "client": (address, 1),
        "server": ("localhost", 80),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"query":"mutation { guest { token } }"}'}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer: dict[str, Any] = orjson.loads(sent[-1]["body"])
    return answer


def remembered() -> int:
    """How often one of the test's addresses is a key of a dictionary, wherever it is."""
    # The collector does not track a dictionary of texts and numbers itself, only the objects that refer to it.
    referents = (each for tracked in gc.get_objects() for each in gc.get_referents(tracked))
    tables = {id(each): each for each in referents if type(each) in (dict, Counter, OrderedDict)}
    return sum(isinstance(key, str) and key.startswith(NETWORK) for table in tables.values() for key in table)


@pytest.mark.slow
async def test_ten_thousand_addresses_take_bounded_memory(shared_database_url: str) -> None:
    """Each address sends a wrong token, makes a guest, sends the guest's token, opens a socket and waits in line."""
    made: list[tuple[ASGIApp, Admission]] = []

    def make_app(admission: Admission) -> ASGIApp:
        made.append((create_app(settings, admission), admission))
        return made[0][0]

    before = remembered()
    async with shop_issuer() as issuer:
        settings = shop_settings(issuer, shared_database_url, closed=True)
        async with serving(settings, make_app=make_app):
            [(app, admission)] = made
            for number in range(ADDRESSES):
                address = f"{NETWORK}{number // 256}.{number % 256}"
                await admission.gate.entered(address)
                with admission.sockets.claimed(address, 1, lambda: None):
                    answer = await called(app, address, f"wrong-{number}")
                if number % 10 == 0:
                    answer = await called(app, address, answer["data"]["guest"]["token"])
                assert answer["data"]["guest"]["token"]
            # Wrong tokens, new guests, and the processor's time that the address has used.
            assert MAX_REMEMBERED <= remembered() - before <= 3 * MAX_REMEMBERED + 100
