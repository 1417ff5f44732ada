"""Vercel's OIDC token: which header it is read from, and where that header is ignored."""

from dataclasses import replace

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.app import create_admission, create_app
from api.database.web_identity import WebIdentity
from api.oidc_header import OidcHeader
from api.routing import Routing
from api.settings import OidcFederation, Settings, read_settings
from tests.server import serving

ROLE = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/dropzero"}


@pytest.mark.parametrize(
    ("environment", "federation"),
    [
        ({}, None),
        (ROLE, None),
        ({"VERCEL": "1"}, None),
        ({**ROLE, "VERCEL": "1"}, OidcFederation(ROLE["AWS_ROLE_ARN"], None, from_requests=True)),
        ({**ROLE, "VERCEL_OIDC_TOKEN": "t"}, OidcFederation(ROLE["AWS_ROLE_ARN"], "t", from_requests=False)),
        ({**ROLE, "VERCEL": "1", "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/token"}, None),
    ],
)
def test_credentials_come_from_vercel_where_it_and_a_role_are_named(
    environment: dict[str, str], federation: OidcFederation | None
) -> None:
    assert read_settings(environment).federation == federation


def test_the_token_is_not_shown_with_the_settings() -> None:
    assert "secret.oidc.token" not in repr(read_settings({**ROLE, "VERCEL_OIDC_TOKEN": "secret.oidc.token"}))


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_token_of_a_request_is_kept_before_it_is_answered(kind: str) -> None:
    identity = WebIdentity(ROLE["AWS_ROLE_ARN"], None, from_requests=True)
    arrived = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.append(identity.arrived)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    for headers in ([], [(b"x-vercel-oidc-token", b"an.oidc.token")], []):
        await OidcHeader(app, identity)({"type": kind, "headers": headers}, receive, send)
    assert arrived == [False, True, True]


def takes_tokens_of_requests(app: ASGIApp | None) -> bool:
    layers = []
    while app is not None:
        layers.append(type(app))
        app = getattr(app, "_app", None)
    assert Routing in layers, "the layers of the application have other names now"
    return OidcHeader in layers


@pytest.mark.parametrize(
    ("environment", "trusted"),
    [({}, False), ({**ROLE, "VERCEL_OIDC_TOKEN": "t"}, False), ({**ROLE, "VERCEL": "1"}, True)],
)
def test_the_header_is_trusted_on_vercel_alone(settings: Settings, environment: dict[str, str], trusted: bool) -> None:
    federation = read_settings(environment).federation
    settings = replace(settings, federation=federation)
    assert takes_tokens_of_requests(create_app(settings, create_admission(settings))) == trusted


async def test_a_server_starts_on_vercel_before_the_first_token_has_come(settings: Settings) -> None:
    federation = OidcFederation(ROLE["AWS_ROLE_ARN"], None, from_requests=True)
    async with serving(replace(settings, federation=federation)) as server:
        assert (await server.purchase(await server.create_product(1)))["status"] == "CONFIRMED"
