"""What is outside of the database: the server at an address, the shop's issuer, the receiver of webhooks."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable

import yarl

from api.client.graphql import why_unanswered
from api.doctor.finding import Finding, explained, failed, ok, warning
from api.doctor.reach import CONNECT_TIMEOUT, check_tls, reach
from api.identity.issuer_settings import IssuerSettings
from api.settings import InvalidSettings, Settings
from api.webhooks.addresses import is_public
from api.webhooks.webhook_settings import WebhookSettings

HTTP_TIMEOUT = 5.0
"""Seconds for one answer of the server."""

_BUILD = re.compile(r'^dropzero_build_info\{[^}]*version="([^"]+)"', re.MULTILINE)


async def check_server(url: str, token: str | None, *, named: bool) -> list[Finding]:
    """The server at a URL: whether it answers, its health, and its version where /metrics shows it. `named`: whether
    the URL was given; otherwise nothing has to run there."""
    import aiohttp  # takes 0.13 s, and no other command of a laptop needs it

    address = yarl.URL(url)
    host, port = address.host or "", address.port or 0
    if not named and _is_free(host, port):
        return [ok("server", f"none runs at {url}, and the port is free")]
    timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(address / "healthz") as response:
                alive = response.status == 200 and (await response.text()) == "ok\n"
            if not alive:
                return [
                    failed("server", f"something else than dropzero answers at {url}", "name another --url or --port")
                ]
            async with session.get(address / "readyz") as response:
                ready = response.status == 200
                health = await response.json() if response.content_type == "application/json" else {}
            version = await _version(session, address, token)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        found = f"no dropzero answers at {url}: {why_unanswered(error)}"
        return [failed("server", found, "start it: dropzero serve; or check --url")]
    away = [name for name, healthy in health.get("regions", {}).items() if not healthy]
    found = f"{version} answers at {url}"
    if not ready:
        reason = "it drains" if health.get("draining") else f"no Region answers it ({', '.join(away)})"
        return [failed("server", f"{found}, and is not ready: {reason}", "see its log")]
    if away:
        return [warning("server", f"{found}, and {', '.join(away)} is away for it", "see the checks of that Region")]
    return [ok("server", f"{found}, and is ready")]


async def _version(session: object, address: yarl.URL, token: str | None) -> str:
    """`dropzero` with its version, where /metrics may be read and shows it."""
    import aiohttp

    assert isinstance(session, aiohttp.ClientSession)
    safe = token is not None and (address.scheme == "https" or address.host in ("localhost", "127.0.0.1", "::1"))
    headers = {"Authorization": f"Bearer {token}"} if safe else {}
    async with session.get(address / "metrics", headers=headers) as response:
        match = _BUILD.search(await response.text()) if response.status == 200 else None
    return "dropzero" if match is None else f"dropzero {match[1]}"


def _is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(where)
            bound.listen(0)
    except OSError:
        return False
    return True


async def check_issuer(issuer: IssuerSettings) -> list[Finding]:
    """Whether the issuer describes itself and has keys that verify tokens."""
    import aiohttp

    from api.identity.issuer_keys import IssuerTimes, WrongAnswer, fetch_keys

    deadline = IssuerTimes().deadline
    try:
        async with asyncio.timeout(deadline):
            keys = await fetch_keys(issuer)
    except TimeoutError:
        reason = f"no answer within {deadline:g} s"
    except (aiohttp.ClientError, OSError, WrongAnswer) as error:
        reason = str(error) or type(error).__name__
    else:
        algorithms = sorted({name for key in keys for name in key.algorithms})
        return [ok("issuer", f"{issuer.issuer} has {len(keys)} keys, for {', '.join(algorithms)}")]
    mend = f"check DROPZERO_ISSUER, and that this network reaches it: curl {issuer.discovery}"
    return [explained("issuer", f"{issuer.issuer}: {reason}", mend)]


async def check_receiver(webhook: WebhookSettings, is_allowed: Callable[[str], bool] = is_public) -> list[Finding]:
    """Whether the receiver of webhooks can be reached, at an address that is allowed. Sends no event and no request.
    The path of its URL may be secret, and is not shown."""
    url = yarl.URL(webhook.receiver)
    host, port = url.host or "", url.port or 443
    reached = await reach("webhook", host, port)
    private = [address for address in reached.addresses if not webhook.private and not is_allowed(address)]
    if private:
        found = f"{host} has the private address {private[0]}, and no event is sent there"
        return [failed("webhook", found, "give it a public address, or set DROPZERO_WEBHOOK_PRIVATE=on")]
    if not reached.addresses or url.scheme != "https":
        return list(reached.findings)
    return [*reached.findings, *await check_tls("webhook", host, port, CONNECT_TIMEOUT)]


async def check_documents(settings: Settings) -> list[Finding]:
    """Whether every trusted document is valid in this version's schema."""
    from api.app import require_documents  # with the application, which no other check needs

    try:
        await asyncio.to_thread(require_documents, settings)
    except InvalidSettings as error:
        return [explained("documents", str(error), "correct the file of DROPZERO_DOCUMENTS")]
    return [ok("documents", f"all {len(settings.trusted_documents or ())} of DROPZERO_DOCUMENTS are valid")]
