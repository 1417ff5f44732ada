"""A real OpenID Connect issuer over HTTP, which rotates its keys, lies, and stops on demand."""

from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
from aiohttp import web
from joserfc.jwa import JWS_ALGORITHMS
from joserfc.jwk import JWKRegistry, Key

from tests.listener import running

DESCRIPTION = "/.well-known/openid-configuration"
KEYS = "/keys"

AUDIENCE = "the-shop"
NOW = 1_800_000_000.0
"""The Unix time of the tests' clock."""

LIFE = 900
"""Seconds that a token is valid."""

MODELS = {model.name: model for model in JWS_ALGORITHMS}
KINDS: dict[str, tuple[str, str | int]] = {
    "RS256": ("RSA", 2048),
    "RS384": ("RSA", 2048),
    "RS512": ("RSA", 2048),
    "PS256": ("RSA", 2048),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""The type and the size or curve of a key for each algorithm."""

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def encoded(value: bytes | dict[str, Any]) -> str:
    """A part of a token."""
    return urlsafe_b64encode(value if isinstance(value, bytes) else orjson.dumps(value)).rstrip(b"=").decode()


def token_of(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token with any header, any claims and any signature."""
    message = f"{encoded(header)}.{encoded(claims)}"
    return f"{message}.{encoded(sign(message.encode()))}"


@cache
def generated(kind: tuple[str, str | int], number: int) -> Key:
    """A private key. Making one with RSA takes a tenth of a second, so tests share keys by their numbers."""
    return JWKRegistry.generate_key(*kind)


@dataclass(frozen=True)
class SigningKey:
    """A key of an issuer, with which it signs tokens."""

    key_id: str
    algorithm: str = "ES256"
    number: int = 0

    @property
    def private(self) -> Key:
        return generated(KINDS[self.algorithm], self.number)

    @property
    def public(self) -> dict[str, Any]:
        """The key as it is published."""
        return {**self.private.as_dict(private=False), "kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    def sign(self, message: bytes) -> bytes:
        return MODELS[self.algorithm].sign(message, self.private)

    def token(self, claims: dict[str, Any], **header: Any) -> str:
        return token_of({"alg": self.algorithm, "kid": self.key_id, "typ": "JWT", **header}, claims, self.sign)


@dataclass
class ShopIssuer:
    """`keys`: those that it publishes; it signs with the last one. `answers`: what it answers at a path instead."""

    url: str
    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey("first")])
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    @property
    def readings(self) -> int:
        """How often its keys were read, or could not be read from the description on."""
        return self.requests[DESCRIPTION]

    @property
    def description(self) -> dict[str, Any]:
        return {"issuer": self.url, "jwks_uri": f"{self.url}{KEYS}"}

    def claims(self, subject: str = "ada", **others: Any) -> dict[str, Any]:
        """The claims of a valid token. A claim that is None is left out."""
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": NOW, "exp": NOW + LIFE, **others}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, subject: str = "ada", **others: Any) -> str:
        """A valid token, but for the claims in `others`."""
        return self.keys[-1].token(self.claims(subject, **others))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests[request.path] += 1
        if request.path in self.answers:
            return await self.answers[request.path](request)
        if request.path == DESCRIPTION:
            return web.json_response(self.description)
        if request.path == KEYS:
            return web.json_response({"keys": [key.public for key in self.keys]})
        raise web.HTTPNotFound


@asynccontextmanager
async def shop_issuer() -> AsyncIterator[ShopIssuer]:
    """Run an issuer on this machine."""
    issuer = ShopIssuer("")
    async with running(web.ServerRunner(web.Server(issuer.answer), shutdown_timeout=0)) as issuer.url:
        yield issuer


def answering(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that is the same for every request."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return answer
