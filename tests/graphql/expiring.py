"""A shop whose clock a test sets, so that tokens expire and keys are withdrawn when the test wants it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest

from api.identity.authenticator import Authenticator
from api.identity.guests import GuestTokens
from api.identity.issuer import Issuer
from api.identity.issuer_keys import IssuerTimes
from api.identity.issuer_settings import IssuerSettings
from api.settings import Settings
from tests.clock import SetClock
from tests.identity.shop_issuer import AUDIENCE, NOW, ShopIssuer, SigningKey, shop_issuer
from tests.patience import PATIENCE
from tests.server import GUEST_KEY, Server, serving

OPERATORS = "shop-operators"
"""The role at the issuer that makes an operator."""

VIEWER = "{ viewer { subject guest } }"


@dataclass(frozen=True)
class Shop:
    """A server, the issuer of its buyers' tokens, and their clock."""

    server: Server
    issuer: ShopIssuer
    clock: SetClock

    def guest_token(self) -> str:
        """The token of a new guest."""
        return GuestTokens([GUEST_KEY]).issue(self.clock.now).token

    def expire(self) -> None:
        """Let every token expire that is valid now, a guest's too."""
        self.clock.now += 365 * 24 * 3600

    async def withdraw_key(self) -> None:
        """Let the issuer sign with another key from now on, and the server notice it."""
        self.issuer.keys = [SigningKey("second", number=1)]
        await self.server.data(VIEWER, token=self.issuer.token("bob"))


@asynccontextmanager
async def shop(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """Run a shop with these settings, an issuer and guests."""
    clock = SetClock(NOW)
    times = IssuerTimes(deadline=PATIENCE, between=0)
    monkeypatch.setattr("api.app.Authenticator", partial(Authenticator, now=clock))
    monkeypatch.setattr("api.app.Issuer", partial(Issuer, times=times, clock=clock))
    async with shop_issuer() as issuer:
        roles = {OPERATORS: "operator"}
        tokens = IssuerSettings(issuer.url, frozenset({AUDIENCE}), roles_claim="roles", role_names=roles)
        async with serving(replace(settings, issuer=tokens, guest_keys=(GUEST_KEY,))) as server:
            yield Shop(server, issuer, clock)
