"""Reads the public keys of the issuer over HTTP, again and again, and keeps the last good ones."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from api.identity.claims import IssuerAway
from api.identity.issuer_settings import IssuerSettings, is_safe
from api.identity.json_web_keys import MAX_KEYS, VerificationKey, read_keys
from api.identity.signed_token import SignedToken

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger("dropzero.identity")

MAX_ANSWER = 256 * 1024
"""Bytes of a document of the issuer. Real ones have 1 to 10 KiB."""

MAX_WAITING = 1_000
"""Tokens that wait for the issuer at a time. Each keeps its request open, for at most `deadline`."""


@dataclass(frozen=True, slots=True)
class IssuerTimes:
    """All times in seconds.

    `deadline`: for both documents of the issuer together. A sign-in that takes longer counts as away.
    `between`: from one reading of the keys to the next that a token with an unknown key can cause. Garbage tokens cause
    six readings a minute at most, and a new key is known after so long at the latest.
    `refresh`: from one reading to the next without any cause. A withdrawn key ends after so long at the latest.
    `retry`: from a failed reading to the next.
    `remember`: how long a verified token is not verified again.
    `leeway`: how far the issuer's clock and this machine's may differ.
    """

    deadline: float = 5.0
    between: float = 10.0
    refresh: float = 300.0
    retry: float = 5.0
    remember: float = 300.0
    leeway: float = 30.0


class WrongAnswer(Exception):
    """The issuer answered, and not as an issuer does. The message says how."""


class IssuerKeys:
    """The keys of one issuer. One task reads them, so that never two readings are under way."""

    def __init__(self, settings: IssuerSettings, times: IssuerTimes, on_change: Callable[[], None]) -> None:
        """`on_change` is called when the keys have changed."""
        self._settings = settings
        self._times = times
        self._on_change = on_change
        self._keys: frozenset[VerificationKey] = frozenset()
        self._wanted = asyncio.Event()
        self._reading: asyncio.Future[None] | None = None
        """Ends with the reading that is under way, or that begins as soon as it is wanted. None while none may
        begin."""
        self._waiting = 0
        self._away_since: float | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether the last reading failed. Until then the keys of the last good reading are used."""
        return self._away_since is not None

    @property
    def known(self) -> bool:
        """Whether the keys have been read once."""
        return bool(self._keys)

    def start(self) -> None:
        """Read the keys from now on, until `close`."""
        self._allow_reading()
        self._task = asyncio.create_task(self._read_again_and_again(), name="keys of the issuer")

    async def close(self) -> None:
        """Stop. Tokens that wait are answered with the keys that are known."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end_reading()

    def __contains__(self, key: VerificationKey) -> bool:
        return key in self._keys

    def find(self, token: SignedToken) -> VerificationKey | None:
        """The key that the token names. A token without a key's id has to be signed with the only key (OpenID Connect
        Core 1.0, section 10.1)."""
        if token.key_id is None and len(self._keys) > 1:
            return None
        fitting = (
            key for key in self._keys if token.algorithm in key.algorithms and token.key_id in (None, key.key_id)
        )
        return next(fitting, None)

    async def renew(self) -> None:
        """Read the keys again, if that may be done now, and wait for it. All who wait share one reading. Raises
        IssuerAway when too many wait already."""
        if self._reading is None:
            return
        if self._waiting >= MAX_WAITING:
            raise IssuerAway("the shop's sign-in answers too slowly to check this token; try again in a moment")
        self._wanted.set()
        self._waiting += 1
        try:
            await asyncio.shield(self._reading)
        finally:
            self._waiting -= 1

    async def _read_again_and_again(self) -> None:
        times = self._times
        while True:
            await self._read()
            self._end_reading()
            await asyncio.sleep(times.retry if self.away else times.between)
            self._allow_reading()
            if not self.away:
                with suppress(TimeoutError):
                    async with asyncio.timeout(times.refresh - times.between):
                        await self._wanted.wait()

    def _allow_reading(self) -> None:
        self._wanted.clear()
        self._reading = asyncio.get_running_loop().create_future()

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.set_result(None)
            self._reading = None

    async def _read(self) -> None:
        import aiohttp  # takes 0.13 s, and only a server with an issuer needs it

        try:
            async with asyncio.timeout(self._times.deadline):
                keys = await fetch_keys(self._settings)
        except TimeoutError:
            self._leave(f"no answer within {self._times.deadline:g} s")
        except (aiohttp.ClientError, OSError, WrongAnswer) as error:
            self._leave(str(error) or type(error).__name__)
        except Exception:
            logger.exception(
                "defect: the keys of the issuer %s cannot be read; report it with this traceback",
                self._settings.issuer,
            )
            self._leave("a defect of this server")
        else:
            self._return()
            if keys != self._keys:
                self._keys = keys
                self._on_change()

    def _leave(self, reason: str) -> None:
        if self.away:
            return
        self._away_since = asyncio.get_running_loop().time()
        known = "tokens are checked with its last keys" if self._keys else "no token can be checked until it answers"
        logger.warning(
            "the issuer %s is away; %s: %s. Look whether this server reaches it; it is asked again until it answers",
            self._settings.issuer,
            known,
            reason,
        )

    def _return(self) -> None:
        if self._away_since is not None:
            passed = asyncio.get_running_loop().time() - self._away_since
            logger.info("the issuer %s answers again, after %.1f s", self._settings.issuer, passed)
            self._away_since = None


async def fetch_keys(settings: IssuerSettings) -> frozenset[VerificationKey]:
    """The issuer's keys, through its description of itself. Raises WrongAnswer, aiohttp.ClientError, OSError."""
    import aiohttp

    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        # A small compressed answer could become a large one.
        auto_decompress=False,
        headers={"accept": "application/json", "accept-encoding": "identity"},
    ) as session:
        description = await _get_object(session, settings.discovery)
        named = description.get("issuer")
        if named != settings.issuer:
            raise WrongAnswer(
                f"its own description names {str(named)[:200]!r} as the issuer; "
                "if that is the shop's issuer, configure exactly this address"
            )
        address = description.get("jwks_uri")
        if not isinstance(address, str) or not is_safe(address):
            raise WrongAnswer("its description has no jwks_uri with https://")
        members = (await _get_object(session, address)).get("keys")
        keys = read_keys(members[:MAX_KEYS]) if isinstance(members, list) else frozenset()
        if not keys:
            raise WrongAnswer("it has no key that can be used here")
        return keys


async def _get_object(session: "aiohttp.ClientSession", address: str) -> dict[str, Any]:
    """The JSON object at an address. No redirect is followed: it could lead to another host. Raises WrongAnswer,
    aiohttp.ClientError, OSError."""
    async with session.get(address, allow_redirects=False) as response:
        if response.status != 200:
            raise WrongAnswer(f"{address} answered {response.status}, not 200")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_ANSWER:
                raise WrongAnswer(f"{address} answered with more than {MAX_ANSWER} bytes")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise WrongAnswer(f"{address} did not answer with a JSON object")
    return value
