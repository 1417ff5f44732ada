"""A receiver of webhooks over HTTP, which verifies with the public library, and misbehaves on demand."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from standardwebhooks import Webhook as Verifier

from api.webhooks.event import WebhookEvent
from api.webhooks.webhook import Webhook, WebhookFailed, WebhookTimes
from api.webhooks.webhook_settings import WebhookSettings
from tests.listener import accepting
from tests.patience import PATIENCE

SECRET = "whsec_" + "QUJD" * 10
OTHER_SECRET = "whsec_" + "REVG" * 10
PATIENT = WebhookTimes(answer=PATIENCE, connect=PATIENCE, body=PATIENCE, idle=PATIENCE)
"""For tests that are not about deadlines."""

HELD = WebhookEvent(
    UUID("0192e5c4-7f3e-7d51-8a1a-1f7c2b9d0e44"),
    "order.held",
    datetime(2026, 12, 1, 10, 0, 0, 250_000, UTC),
    '{"order":{"id":"7","userRef":"ada ✓","quantity":2}}',
)

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Taken:
    """One request that has arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verify(self, secret: str = SECRET) -> object:
        """The JSON of the body. Raises WebhookVerificationError."""
        return Verifier(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """`answer`: how it answers, 204 by default. `taken`: the requests in order. `connections`: those it accepted."""

    url: str = ""
    answer: Answer | None = None
    taken: list[Taken] = field(default_factory=list)
    connections: int = 0

    async def receive(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.taken.append(Taken(request.path_qs, headers, await request.read()))
        return web.Response(status=204) if self.answer is None else await self.answer(request)


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on this machine, with TLS if it has a context."""
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.receive), shutdown_timeout=0)
    await runner.setup()
    try:
        assert runner.server is not None
        make = runner.server

        def accept() -> asyncio.Protocol:
            receiver.connections += 1
            return make()

        server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0, ssl=tls)
        async with accepting(server) as port:
            receiver.url = f"http{'' if tls is None else 's'}://127.0.0.1:{port}/hunter2?key=hunter2"
            yield receiver
    finally:
        await runner.cleanup()


def _now() -> datetime:
    return datetime.now(UTC)


async def reason(webhook: Webhook, event: WebhookEvent = HELD) -> str:
    """Why an event was not sent. Shows nothing of the URL's path and query, which may be secret."""
    with pytest.raises(WebhookFailed) as failed:
        await webhook.send(event)
    assert "hunter2" not in f"{failed.value!r} {failed.value.__cause__!r}"
    return str(failed.value)


@asynccontextmanager
async def sending(
    url: str,
    times: WebhookTimes = PATIENT,
    secrets: tuple[str, ...] = (SECRET,),
    private: bool = True,
    now: Callable[[], datetime] = _now,
    resolver: AbstractResolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Webhook]:
    """A webhook that is open until the block is left."""
    webhook = Webhook(WebhookSettings(url, secrets, private), times, now, resolver, tls)
    await webhook.open()
    try:
        yield webhook
    finally:
        await webhook.close()


def answering(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    """An answer that is the same for every request."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, body=body)

    return answer
