"""A shop with an issuer and with guests, and the token of each of its callers."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from api.database.endpoint import Endpoint
from api.identity.guests import GuestTokens
from api.settings import EMBEDDED_REGIONS, Settings, read_settings
from tests.identity.shop_issuer import AUDIENCE, LIFE, ShopIssuer, shop_issuer
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES
from tests.server import ADMIN_TOKEN, GUEST_KEY, Server, serving

ANONYMOUS, ADA, BOB, GUEST = "anonymous", "ada", "bob", "guest"
SUE, PIA, OLGA, OPERATOR = "sue of support", "pia of payments", "olga the operator", "the operator's token"

CALLERS = (ANONYMOUS, ADA, BOB, GUEST, SUE, PIA, OLGA, OPERATOR)
"""`ada` and `bob` are buyers, and `olga` is an operator by a role of hers at the issuer."""

ROLES = {SUE: "shop-support", PIA: "shop-payments", OLGA: "shop-operator"}
CONFIGURED = {"DROPZERO_ENDPOINTS": "us-east-1=postgresql://nobody@localhost/nothing"}


@dataclass(frozen=True)
class Shop:
    """A server and its issuer."""

    server: Server
    issuer: ShopIssuer

    def token(self, caller: str, **others: Any) -> str | None:
        """The token of one of CALLERS, or of a buyer of another name; None for the anonymous one. `others` are claims
        of the issuer's token."""
        if caller == ANONYMOUS:
            return None
        if caller == OPERATOR:
            return ADMIN_TOKEN
        if caller == GUEST:
            return GuestTokens([GUEST_KEY]).issue(time.time()).token
        now = int(time.time())
        roles = [ROLES[caller]] if caller in ROLES else []
        return self.issuer.token(caller, **{"iat": now, "exp": now + LIFE, "roles": roles, **others})


def shop_settings(issuer: ShopIssuer, database_url: str, *, closed: bool) -> Settings:
    """Settings of a shop whose buyers sign in at the issuer or are guests. `closed`: as with an endpoint configured,
    and else as on a laptop. Its proxy is this machine. It keeps events."""
    configured = read_settings(
        {
            "DROPZERO_ISSUER": issuer.url,
            "DROPZERO_AUDIENCE": AUDIENCE,
            "DROPZERO_ROLES_CLAIM": "roles",
            "DROPZERO_SUPPORT_ROLE": ROLES[SUE],
            "DROPZERO_PAYMENTS_ROLE": ROLES[PIA],
            "DROPZERO_OPERATOR_ROLE": ROLES[OLGA],
            "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN,
            "DROPZERO_GUEST_KEY": GUEST_KEY,
            "DROPZERO_TRUSTED_PROXIES": "127.0.0.1",
            "DROPZERO_EVENTS": "on",
            **(CONFIGURED if closed else {}),
        }
    )
    endpoints = tuple(Endpoint(region, database_url) for region in EMBEDDED_REGIONS)
    return replace(configured, endpoints=endpoints, budget=PATIENT_BUDGET, region_times=PATIENT_TIMES)


@asynccontextmanager
async def open_shop(database_url: str, *, closed: bool) -> AsyncIterator[Shop]:
    """Run a shop: its issuer and its server."""
    async with shop_issuer() as issuer, serving(shop_settings(issuer, database_url, closed=closed)) as server:
        yield Shop(server, issuer)
