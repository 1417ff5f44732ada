"""Sends events to the shop's receiver, as Standard Webhooks describes: https://www.standardwebhooks.com."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import yarl
from standardwebhooks import Webhook as Signer

from api.webhooks.addresses import public_socket
from api.webhooks.event import WebhookEvent
from api.webhooks.retry_after import parse_retry_after
from api.webhooks.webhook_settings import WebhookSettings

if TYPE_CHECKING:
    import ssl

    import aiohttp
    from aiohttp.abc import AbstractResolver

REFUSALS = frozenset((400, 409, 413, 415, 422, 500))
"""Statuses by which a receiver refuses the one event that it was sent: programs answer so to what they do not know, or
fail at. Any other is an answer to all events, such as to the wrong path, without a right, or from a proxy."""

CONNECTIONS = 16
"""Connections to the receiver, of one process. A receiver that takes 50 ms for an event gets 320 events a second."""


@dataclass(frozen=True, slots=True)
class WebhookTimes:
    """All times in seconds.

    `answer`: until the receiver has answered with a status. GitHub waits as long. A receiver that has more to do
    answers first; while it works, it would hold one of few connections.
    `connect`: until a connection to one of the receiver's addresses is open, TLS included.
    `body`: from the status to the end of the answer; then the connection is closed.
    `idle`: how long a connection waits for the next event. Many servers close theirs after 5 s (Node.js by default).
    An event that is sent at that moment fails.
    """

    answer: float = 10.0
    connect: float = 5.0
    body: float = 1.0
    idle: float = 4.0


class WebhookFailed(Exception):
    """The receiver has not answered in time that it has the event. The message says why, for the operator.

    `retry_after`: the seconds that the receiver wants to be left alone, bounded; None when it names none. `away`: it
    did not answer, or as for every event. Otherwise it has refused this one event.
    """

    def __init__(self, reason: str, retry_after: float | None = None, *, away: bool = True) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.away = away


def _now() -> datetime:
    return datetime.now(UTC)


class Webhook:
    """One receiver. It is sent an event once with each call of `send`: when to send again is the caller's decision."""

    def __init__(
        self,
        settings: WebhookSettings,
        times: WebhookTimes = WebhookTimes(),
        now: Callable[[], datetime] = _now,
        resolver: "AbstractResolver | None" = None,
        tls: "ssl.SSLContext | None" = None,
    ) -> None:
        """`now`: the time in UTC. `resolver` finds the addresses of names, and `tls` has the authorities that are
        trusted. By default both are the operating system's."""
        self.receiver = settings.receiver
        """The receiver's origin, for log lines."""
        self._url = yarl.URL(settings.url)
        self._private = settings.private
        self._signers = tuple(map(Signer, settings.secrets))
        self._times = times
        self._now = now
        self._resolver = resolver
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Allow events to be sent, until `close`."""
        import aiohttp  # takes 0.13 s, and only a server with webhooks needs it

        from api.webhooks.bounded_answer import BoundedConnector

        connector = BoundedConnector(
            limit=CONNECTIONS,
            keepalive_timeout=self._times.idle,
            resolver=self._resolver,
            socket_factory=None if self._private else public_socket,
            ssl=True if self._tls is None else self._tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._times.connect),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A small compressed answer could become a large one.
            auto_decompress=False,
            # A proxy named in the environment would connect to addresses that are not checked here.
            trust_env=False,
            headers={
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "dropzero",
            },
        )

    async def close(self) -> None:
        """Close the connections. What is still being sent fails."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, event: WebhookEvent) -> None:
        """Send an event, and return when the receiver has answered 2xx. Raises WebhookFailed."""
        import aiohttp

        assert self._session is not None, "the webhook is not open"
        try:
            async with asyncio.timeout(self._times.answer):
                body = event.body
                response = await self._session.post(
                    self._url, data=body, headers=self._signature(event, body), allow_redirects=False
                )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise WebhookFailed(self._reason(error)) from None
        async with response:
            await self._read_to_the_end(response)
        self._check(response)

    def _signature(self, event: WebhookEvent, body: bytes) -> dict[str, str]:
        """The headers that Standard Webhooks adds. The moment is that of sending, by which a receiver refuses a request
        that somebody has recorded."""
        now, text = self._now(), body.decode()
        signatures = (signer.sign(str(event.id), now, text) for signer in self._signers)
        return {
            "webhook-id": str(event.id),
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    async def _read_to_the_end(self, response: "aiohttp.ClientResponse") -> None:
        """Read a short answer, so that its connection can carry the next event. After a long or a slow answer the
        connection is closed."""
        import aiohttp

        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(self._times.body):
                await response.read()

    def _check(self, response: "aiohttp.ClientResponse") -> None:
        """Raises WebhookFailed for a status that is not 2xx."""
        status = response.status
        if 200 <= status < 300:
            return
        reason = f"it answered {status}"
        if 300 <= status < 400:
            reason += ": redirects are not followed, the receiver's own address must be configured"
        text = response.headers.get("retry-after")
        retry_after = None if text is None else parse_retry_after(text, self._now())
        raise WebhookFailed(reason, retry_after, away=status not in REFUSALS)

    def _reason(self, error: Exception) -> str:
        """Why there was no answer. What a receiver sends is not repeated, nor its URL: a log line has neither."""
        import aiohttp

        from api.webhooks.bounded_answer import MAX_ANSWER, AnswerTooLong

        match error:
            case AnswerTooLong():
                return f"its answer has more than {MAX_ANSWER} bytes"
            case aiohttp.ServerTimeoutError():
                return f"no connection within {self._times.connect:g} s"
            case TimeoutError():
                return f"no answer within {self._times.answer:g} s"
            case aiohttp.ClientConnectorCertificateError():
                return f"its certificate is not valid: {error.certificate_error}"
            case aiohttp.ClientConnectorDNSError():
                return f"its name has no address: {error.os_error}"
            case aiohttp.ClientConnectorError():
                return f"no connection: {error.os_error}"
            case aiohttp.ServerDisconnectedError():
                return "it closed the connection without an answer"
            case aiohttp.ClientResponseError():
                return "its answer is not HTTP"
            case aiohttp.InvalidURL():
                return "its URL has no valid host"
        return f"the connection was lost ({type(error).__name__})"
