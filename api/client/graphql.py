"""Sends GraphQL operations over HTTP."""

import asyncio
import ipaddress
import itertools
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import yarl

if TYPE_CHECKING:
    import aiohttp

REQUEST_TIMEOUT = 60.0
"""Seconds for one request. Longer than any deadline of the server."""

GONE_AFTER = 30.0
"""Seconds without an answer after which a server counts as gone. A server that restarts answers the requests in flight
before it ends, and then starts in about three seconds. Ten times that allows for a busy machine."""

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds before an operation is sent again. The pause doubles with each failure, up to the longest. A server that is
starting then gets fewer than a hundred requests a second from 50 buyers."""

_GATEWAY_STATUSES = (502, 503, 504)
"""Statuses that a proxy answers when the server behind it did not answer."""


_LONGEST_MESSAGE = 500
"""Characters of the longest message that this server answers with."""


class RequestFailed(Exception):
    """An operation returned no data; the message says why."""


class NoAnswer(RequestFailed):
    """The server could not be reached, or its answer was lost. Whether the operation was executed is not known."""


class Refused(RequestFailed):
    """The server at `url` answered with errors. `code` is that of the first error, such as UNAUTHENTICATED."""

    def __init__(self, message: str, code: str | None, url: str) -> None:
        super().__init__(message)
        self.code = code
        self.url = url


class GraphQLClient:
    """Sends operations to one server, over connections that stay open."""

    def __init__(self, session: "aiohttp.ClientSession", url: str, token: str | None) -> None:
        """`token` is sent to this server alone: aiohttp drops it when a redirect leads to another origin."""
        self._session = session
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self.url = url

    async def execute(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run an operation and return its data. Raises RequestFailed."""
        import aiohttp  # takes 0.13 s, and the commands that call no server do not need it

        body = orjson.dumps({"query": query, "variables": variables})
        try:
            async with self._session.post(f"{self.url}/graphql", data=body, headers=self._headers) as response:
                text = await response.read()
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise _not_an_address(self.url) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _no_answer(self.url, error) from None
        try:
            answer = orjson.loads(text)
            errors, data = answer.get("errors"), answer.get("data")
            if errors:
                messages = "; ".join(str(error.get("message")) for error in errors)
                raise Refused(messages, (errors[0].get("extensions") or {}).get("code"), self.url)
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            data = None
        if not isinstance(data, dict):
            failure = NoAnswer if response.status in _GATEWAY_STATUSES else RequestFailed
            raise failure(f"{self.url} answered {response.status}, and not as a GraphQL server does")
        return data

    async def execute_until_answered(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        seconds: float,
        on_loss: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Run an operation, send it again after each lost answer until `seconds` have passed, and return its data.

        The server may execute it more than once, unless its variables have an idempotency key. `on_loss` is called for
        each lost answer. Raises NoAnswer when the last answer was lost too, and RequestFailed.
        """
        end = time.monotonic() + seconds
        for losses in itertools.count():
            try:
                return await self.execute(query, variables)
            except NoAnswer:
                on_loss()
                left = end - time.monotonic()
                if left <= 0:
                    raise
            await asyncio.sleep(min(left, pause_before_retry(losses)))
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """GET a path of the server. Yields the headers and the pieces of a body of any length. Raises RequestFailed,
        and NoAnswer when it breaks off or when no piece comes for REQUEST_TIMEOUT seconds."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_read=REQUEST_TIMEOUT)
        request = self._session.get(f"{self.url}{path}", params=query, headers=self._headers, timeout=timeout)
        begun = False
        try:
            async with request as response:
                if response.status != 200:
                    raise _refused((await response.text()).strip(), response.status, self.url)
                begun = True
                yield response.headers, response.content.iter_any()
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise _not_an_address(self.url) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            if begun:
                raise NoAnswer(
                    f"the answer of {self.url} broke off: {_why_unanswered(error)}; it is not whole"
                ) from None
            raise _no_answer(self.url, error) from None

    async def post(self, path: str, body: bytes, content_type: str) -> Any:
        """POST a body to a path of the server, and return the JSON that it answers. Raises RequestFailed."""
        import aiohttp

        headers = {**self._headers, "content-type": content_type}
        try:
            async with self._session.post(f"{self.url}{path}", data=BytesIO(body), headers=headers) as response:
                if response.status not in (200, 201):
                    raise _refused((await response.text()).strip(), response.status, self.url)
                with self.checking_data():
                    return orjson.loads(await response.read())
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise _not_an_address(self.url) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _no_answer(self.url, error) from None
        raise AssertionError("unreachable")

    async def download(self, url: str, most: int) -> bytes:
        """GET a body of at most `most` bytes from any server, without the token of this one. Raises RequestFailed."""
        import aiohttp

        try:
            async with self._session.get(url) as response:
                if response.status != 200:
                    raise RequestFailed(f"{url} answered {response.status}")
                body = b""
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > most:
                        raise RequestFailed(f"{url} has more than {most} bytes")
                return body
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise RequestFailed(f"{url} is not an address") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RequestFailed(f"no answer from {url}: {_why_unanswered(error)}") from None

    @contextmanager
    def checking_data(self) -> Iterator[None]:
        """Raise RequestFailed if the block does not find in the server's data what the operation selected."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            raise RequestFailed(
                f"{self.url} answered with data that has another shape; is it a dropzero of this version?"
            ) from None


def pause_before_retry(failures: int) -> float:
    """Seconds to wait after a failure that `failures` others preceded. They double each time, and half is random."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - it spreads requests and protects nothing


def _refused(message: str, status: int, url: str) -> RequestFailed:
    if "\n" in message or len(message) > _LONGEST_MESSAGE or not message:
        return RequestFailed(f"{url} answered {status}, and not as a dropzero of this version does")
    return Refused(message, "UNAUTHENTICATED" if status == 401 else None, url)


def _not_an_address(url: str) -> RequestFailed:
    return RequestFailed(f"{url} is not the address of a server, such as http://127.0.0.1:8000")


def _no_answer(url: str, error: Exception) -> NoAnswer:
    return NoAnswer(f"no answer from {url}: {_why_unanswered(error)}; is the server running there?")


def _why_unanswered(error: Exception) -> str:
    """Return why a server did not answer, for people."""
    import aiohttp

    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or "not in time"
    is_of_the_system = (error.errno or 0) > 0 and not isinstance(error.os_error, ssl.SSLError)
    return os.strerror(error.errno or 0) if is_of_the_system else str(error.os_error.strerror or error)


def is_this_machine(url: str) -> bool:
    """Whether requests to the URL stay on this machine: its host is localhost, 127.0.0.0/8 or [::1]."""
    try:
        host = yarl.URL(url).host or ""  # as aiohttp reads it
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_in_the_clear(url: str) -> bool:
    """Whether others on the network can read what is sent to the URL: it is http:// to another machine."""
    return url.lower().startswith("http:") and not is_this_machine(url)


@asynccontextmanager
async def graphql_clients(
    urls: list[str], token: str | None, connections: int, local_token: str | None = None
) -> AsyncIterator[list[GraphQLClient]]:
    """Yield a client for each URL. Together they hold at most `connections` connections.

    Every server is sent the operator's `token`. Without one, servers on this machine are sent `local_token`, and other
    servers no token. Raises RequestFailed when a URL has a user or a password, because error messages show the URL.
    """
    if any("@" in urlsplit(url).netloc for url in urls):
        raise RequestFailed(
            "the address of a server has no user and no password; the operator's token is DROPZERO_ADMIN_TOKEN"
        )
    import aiohttp

    async with aiohttp.ClientSession(
        headers={"content-type": "application/json"},
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT),
    ) as session:
        yield [
            GraphQLClient(
                session,
                url.rstrip("/").removesuffix("/graphql"),
                local_token if token is None and is_this_machine(url) else token,
            )
            for url in urls
        ]
