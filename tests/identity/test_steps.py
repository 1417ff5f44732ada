"""The step of the event loop that a token takes: one, and a short one, whatever the token is."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import pytest

from api.identity.authenticator import Authenticator
from api.identity.errors import RateLimited
from api.identity.guests import GuestTokens
from api.identity.issuer import Issuer
from api.identity.issuer_settings import IssuerSettings
from api.identity.operator_tokens import OperatorTokens
from api.identity.refusals import Refusals
from api.identity.signed_token import MAX_TOKEN
from api.server import MAX_MESSAGE
from tests.identity.shop_issuer import AUDIENCE, LIFE, SigningKey, encoded, shop_issuer, token_of
from tests.server import ADMIN_TOKEN, GUEST_KEY

TOKENS, ROUNDS = 20, 5

MOST = 10
"""The step of garbage, as a multiple of that of a token of the issuer that is seen for the first time. It was 2.5."""

KEY = SigningKey("first")
SOME_CLAIMS = MAX_TOKEN // 2


def said(number: int, iss: str, **others: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": iss, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + LIFE, "jti": number, **others}


def unsigned(algorithm: str, size: int, claims: dict[str, Any]) -> str:
    """A token with a signature of zeros."""
    return token_of({"alg": algorithm, "kid": "first"}, claims, lambda _: bytes(size))


NESTED = b'{"alg":' + b"[" * SOME_CLAIMS
LONG = {"more": "x" * SOME_CLAIMS}

GARBAGE: Mapping[str, Callable[[str, int], str]] = {
    "a long text": lambda issuer, number: str(number).ljust(MAX_MESSAGE, "A"),
    "a long token": lambda issuer, number: f"{encoded({'alg': 'ES256'})}.{'A' * MAX_MESSAGE}.{number}",
    "a long head": lambda issuer, number: f"{encoded({'alg': 'ES256', 'x': 'y' * MAX_MESSAGE})}.A.{number}",
    "a wrong signature": lambda issuer, number: unsigned("ES256", 64, said(number, issuer, **LONG)),
    "no signature": lambda issuer, number: unsigned("none", 0, said(number, issuer, **LONG)),
    "a guest's wrong signature": lambda issuer, number: unsigned("HS256", 32, said(number, "dropzero-guests", **LONG)),
    "nested claims": lambda issuer, number: f"{encoded({'alg': 'ES256'})}.{encoded(b'[' * SOME_CLAIMS)}.{number}",
    "a nested head": lambda issuer, number: f"{encoded(NESTED)}.A.{number}",
}


@pytest.fixture
async def shop() -> AsyncIterator[tuple[Authenticator, str]]:
    """An authenticator that knows the keys of its issuer, and the issuer's address."""
    refusals = Refusals()
    async with shop_issuer() as issuer:
        verifier = Issuer(IssuerSettings(issuer.url, frozenset({AUDIENCE})))
        verifier.start()
        authenticator = Authenticator(
            OperatorTokens(ADMIN_TOKEN), refusals, guests=GuestTokens([GUEST_KEY]), issuer=verifier
        )
        assert (await authenticator.identify(f"Bearer {KEY.token(said(0, issuer.url))}", "first")).subject == "ada"
        yield authenticator, issuer.url
        await verifier.close()
    refusals.close()


def identified(authenticator: Authenticator, token: str, client: str) -> bool:
    """Whether the token makes its caller known. The caller is found in one step, without waiting."""
    coroutine = authenticator.identify(f"Bearer {token}", client)
    with pytest.raises((StopIteration, RateLimited)) as end:
        coroutine.send(None)
    return isinstance(end.value, StopIteration) and not end.value.value.objection


def microseconds(authenticator: Authenticator, make: Callable[[int], str], *, valid: bool) -> float:
    """Processor time for a token that was never sent before: the least of several rounds."""
    least = float("inf")
    for round_ in range(ROUNDS):
        tokens = [make(round_ * TOKENS + number + 1) for number in range(TOKENS)]
        begun = time.thread_time()
        known = [identified(authenticator, token, token[:20]) for token in tokens]
        least = min(least, (time.thread_time() - begun) / TOKENS * 1e6)
        assert set(known) == {valid}
    return least


async def test_every_token_takes_one_short_step(shop: tuple[Authenticator, str]) -> None:
    authenticator, issuer = shop
    honest = microseconds(authenticator, lambda number: KEY.token(said(number, issuer)), valid=True)
    took = {name: microseconds(authenticator, partial(make, issuer), valid=False) for name, make in GARBAGE.items()}
    assert {name: f"{each:.0f} us" for name, each in took.items() if each > MOST * honest} == {}
